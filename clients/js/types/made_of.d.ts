/**
 * A class whose objects have the parts that they are made of as their members; other classes extend it.
 *
 * @type {new <P>(parts: P) => Readonly<P>}
 */
export const MadeOf: new <P>(parts: P) => Readonly<P>;
