/**
 * Why a path may not be used, or undefined when it may.
 *
 * @param {string} path
 * @returns {string | undefined}
 */
export function pathProblem(path: string): string | undefined;
/**
 * `name (conflict YYYY-MM-DD HHMMSS).ext`, in local time; from the second attempt on with a number.
 *
 * @param {string} path
 * @param {Date} at
 * @param {number} [attempt]
 * @returns {string}
 */
export function conflictPath(path: string, at: Date, attempt?: number): string;
