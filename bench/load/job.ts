/** What the load generator is told to do, as JSON in its only argument. */
export type Job = {
  readonly port: number;
  readonly path: string;
  /** Length that each body must have. */
  readonly bodyBytes: number;
  readonly connections: number;
  readonly warmUpMs: number;
  readonly measureMs: number;
  /** Whose CPU time is read at both ends of the measured window. */
  readonly pids: readonly number[];
} & (
  | { readonly kind: 'keep-alive' | 'connect' }
  /** Requests are due at this rate, whether or not those before are answered. */
  | { readonly kind: 'fixed-rate'; readonly ratePerSecond: number }
);

/** What it has seen, as JSON in its only line of output. The window leaves out the warm-up; `sent` does not. */
export interface JobResult {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly requests: number;
  readonly bytes: number;
  readonly sent: number;
  /** From the moment at which each request was due to the end of its answer; only with a fixed rate. */
  readonly latenciesMs: readonly number[];
  /** How late the generator itself was to hand over requests, at worst; only with a fixed rate. */
  readonly maxLatenessMs: number;
}
