/**
 * Yield what changed in a space after `since`, as `SyncClient.pull` describes it.
 *
 * @param {import("./keeper.js").Keeper} keeper
 * @param {import("./limits.js").Limits} limits
 * @param {string} space
 * @param {number} since
 * @param {string | undefined} ucan
 * @returns {AsyncGenerator<PullEvent, void, void>}
 */
export function pulled(keeper: import("./keeper.js").Keeper, limits: import("./limits.js").Limits, space: string, since: number, ucan: string | undefined): AsyncGenerator<PullEvent, void, void>;
export type PullEvent = import("./shapes.js").PullEvent;
export type PullEntry = Exclude<PullEvent, {
    kind: "begin" | "commit";
}>;
