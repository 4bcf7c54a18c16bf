/** What keeps a run from giving figures that mean something: one sentence. */
export class BenchError extends Error {
  override readonly name = 'BenchError';
}
