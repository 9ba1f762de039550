/**
 * Sign and encrypt.
 *
 * @param {Uint8Array} payload
 * @param {{device: import("../keys.js").DeviceKey, typ: string, info: string, space: string, epoch: number,
 *   key: Uint8Array}} how
 * @returns {Promise<Uint8Array>}
 */
export function sealSigned(payload: Uint8Array, { device, typ, info, space, epoch, key }: {
    device: import("../keys.js").DeviceKey;
    typ: string;
    info: string;
    space: string;
    epoch: number;
    key: Uint8Array;
}): Promise<Uint8Array>;
/**
 * Decrypt and verify: the payload, or null for anything that is not by who `authorOf` says wrote it.
 *
 * @param {Uint8Array} data
 * @param {{typ: string, info: string, space: string, keyOf: (epoch: number) => Uint8Array | undefined,
 *   authorOf: (payload: Uint8Array) => string | null}} how
 * @returns {Promise<Uint8Array | null>}
 */
export function openSigned(data: Uint8Array, { typ, info, space, keyOf, authorOf }: {
    typ: string;
    info: string;
    space: string;
    keyOf: (epoch: number) => Uint8Array | undefined;
    authorOf: (payload: Uint8Array) => string | null;
}): Promise<Uint8Array | null>;
