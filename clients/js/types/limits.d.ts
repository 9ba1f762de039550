export namespace LIMITS {
    let frameBytes: number;
    let openMs: number;
    let requestMs: number;
    let chunkIdleMs: number;
    let silenceMs: number;
    let chunksWaiting: number;
    let chunkBytesWaiting: number;
    let calls: number;
    let sendBytesWaiting: number;
    let backoffFirstMs: number;
    let backoffMaxMs: number;
    let backoffJitter: number;
    let pullResumptions: number;
    let settledMs: number;
    let fileRequests: number;
    let fileRequestsWaiting: number;
    let fileIdleMs: number;
    let uploadPerPieceMs: number;
    let fileBytes: number;
}
export type Limits = Readonly<typeof LIMITS>;
