import type { EndFiles } from './certificates.ts';

/** What a contender is made from. */
export interface Ground {
  /** A folder that is removed at the end. */
  readonly folder: string;
  readonly client: EndFiles;
  readonly server: EndFiles;
  readonly backendPort: number;
}

/** Two proxies, one at each end of a tunnel of mutual TLS, that are running but perhaps not ready. */
export interface Contender {
  readonly name: string;
  /** Where plaintext goes in. */
  readonly port: number;
  /** Where the tunnel goes in at the server end. */
  readonly tlsPort: number;
  /** Of the two proxies. */
  readonly pids: readonly number[];
}

/** What the ratios are ratios to. */
export const baseline = 'HAProxy';
