/** What keeps a soak from saying anything: one sentence. */
export class SoakError extends Error {
  override readonly name = 'SoakError';
}
