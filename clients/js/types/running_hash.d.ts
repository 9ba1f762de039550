/** See the module. */
export class RunningHash {
    /**
     * Take in the next bytes.
     *
     * @param {Uint8Array} bytes
     * @returns {this}
     */
    update(bytes: Uint8Array): this;
    /**
     * The digest of everything so far; nothing may be taken in after it.
     *
     * @returns {Uint8Array} 32 bytes
     */
    digest(): Uint8Array;
    #private;
}
