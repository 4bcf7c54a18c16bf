import type { ClientFacts } from './client-report.ts';
import type { SidecarFacts } from './sidecar-facts.ts';
import type { Edge } from './sidecar-log.ts';
import type { WireTotals } from './wire-count.ts';

/** Everything that is shown at one moment, as the parts of the mesh themselves said it. */
export interface Picture {
  /** Wall time. */
  readonly nowMs: number;
  readonly elapsedMs: number;
  /** Where the mesh runs, one sentence. */
  readonly where: string;
  /** What was changed last, and what that shows; one sentence. */
  readonly now: string;
  readonly pods: readonly PodPicture[];
  readonly edges: readonly Edge[];
  readonly refusals: readonly RefusalPicture[];
  readonly clients: Readonly<Record<string, ClientFacts>>;
  readonly wire: WireTotals;
  readonly hints: readonly Hint[];
  /** What has gone wrong since the start, one sentence each. */
  readonly notes: readonly string[];
}

export interface PodPicture {
  readonly name: string;
  /** Undefined for a pod without a sidecar; its parts while the sidecar has not said them. */
  readonly sidecar: { readonly identity: string | undefined; readonly facts: SidecarFacts | undefined } | undefined;
}

/** Connections that a sidecar refused for one reason, from all addresses of a pod. */
export interface RefusalPicture {
  readonly sidecar: string;
  /** The pod that was refused, or the address of a stranger. */
  readonly peer: string;
  readonly reason: string;
  readonly count: number;
}

/** How this program is started in the folder of its checkout. */
export const remoraOfCheckout = 'node_modules/.bin/node src/main.ts';

/** Something to try in another terminal. */
export interface Hint {
  readonly title: string;
  readonly command: string;
}
