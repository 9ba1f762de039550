/**
 * A class whose objects have the parts that they are made of as their members; other classes extend it.
 *
 * @type {new <P>(parts: P) => Readonly<P>}
 */
export const MadeOf = /** @type {any} */ (
  class {
    /** @param {object} parts */
    constructor(parts) {
      Object.assign(this, parts);
    }
  }
);
