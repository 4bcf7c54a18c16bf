import type { Readable, Writable } from 'node:stream';

/**
 * What a subcommand may know of its process. `main.ts` is the only reader of `process`, so a test can run any
 * subcommand in-process with a host of its own.
 */
export interface Host {
  /** The arguments behind the subcommand's name. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What starts this same program again: executable, its flags, and the script. */
  readonly program: readonly [executable: string, ...args: string[]];
  /** Flags of the running Node.js, such as `--inspect`. */
  readonly nodeFlags: readonly string[];
  readonly versions: { readonly node: string; readonly openssl: string };
  readonly cwd: string;
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  readonly stdin: Readable;
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number; readonly rows?: number };
  readonly stderr: Writable;
  /** Calls `handler` for SIGTERM and SIGINT until the returned function is called; without a handler they end the process. */
  onStopSignal(handler: (signal: 'SIGTERM' | 'SIGINT') => void): () => void;
  /** Ends the process at once; for a second signal during a stop. */
  exit(code: number): never;
  /** Bytes of memory that this process holds in RAM. */
  residentBytes(): number;
  /** Collects all garbage of V8 now, and stalls everything meanwhile; absent where Node.js does not offer it. */
  readonly collectGarbage: (() => void) | undefined;
  /** How many descriptors this process may have open; infinite where the system does not say. */
  descriptorLimit(): number;
}

/** Runs a subcommand to its end and resolves with the exit code; throws `RemoraError` for what the operator can act on. */
export type Subcommand = (host: Host) => Promise<number>;
