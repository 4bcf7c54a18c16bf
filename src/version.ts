/** The version of this program; the build and the tests compare it with package.json. */
export const version = '0.1.0';
