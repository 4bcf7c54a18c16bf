import type { Clock } from '../../clock.ts';
import type { Host } from '../../host.ts';
import type { HandshakeReason } from '../../outcomes.ts';
import type { ToolOptions } from '../../system-tool.ts';
import type { ClientFacts } from './client-report.ts';
import type { Crew } from './crew.ts';
import type { Folder } from './folder.ts';
import type { Hint, PodPicture, RefusalPicture } from './picture.ts';
import type { Edge } from './sidecar-log.ts';
import type { WireTotals } from './wire-count.ts';

/** What a mesh shows of itself at one moment. */
export interface Look {
  readonly pods: readonly PodPicture[];
  readonly edges: readonly Edge[];
  readonly refusals: readonly RefusalPicture[];
  readonly clients: Readonly<Record<string, ClientFacts>>;
  readonly wire: WireTotals;
  /** Connections that the sidecars cut because a policy does not permit them any more. */
  readonly policyClosed: number;
}

/** Whom a switch to STRICT would cut off, as the sidecar of api has seen it. */
export interface Previewed {
  readonly port: number;
  /** `namespace/workload`, or the address of whoever is in no registry. */
  readonly caller: string;
  readonly connections: number;
}

/** A control plane, three pods with a sidecar and one without, in whatever surroundings. */
export interface Mesh {
  /** Where it runs, one sentence. */
  readonly where: string;
  /** Whether anything can reach a pod but through its sidecar: then the mode says who may. */
  readonly isCaptured: boolean;
  /** What `legacy` must be refused as at least once, when the mode is STRICT. */
  readonly requiredRefusal: HandshakeReason;
  /** Starts everything and resolves when all sidecars are ready and traffic flows; rejects when the signal is aborted. */
  start(signal: AbortSignal): Promise<void>;
  hints(): readonly Hint[];
  look(): Promise<Look>;
  /** What `remora strict-preview` says beside api. */
  preview(): Promise<readonly Previewed[]>;
  /** Lets the applications finish what they have begun, and none begin anew. */
  endTraffic(): Promise<void>;
  /** Turns the sidecars off, lets web call api for a while, and resolves with what the wire carried meanwhile. */
  withoutSidecars(): Promise<WireTotals>;
  /** Ends and removes everything, once `start` has settled. */
  remove(): Promise<void>;
}

/** What every mesh is made of. */
export interface MeshParts {
  /** Begins the names of everything that the demo makes outside of its folder. */
  readonly name: string;
  readonly program: Host['program'];
  /** The user of this process. */
  readonly uid: number;
  /** Of every process of the mesh. */
  readonly env: ToolOptions['env'];
  readonly clock: Clock;
  readonly folder: Folder;
  readonly crew: Crew;
  /** What the applications say in everything that they send, by marker: `legacy` for legacy, `mesh` for the others. */
  readonly markers: { readonly mesh: string; readonly legacy: string };
}

/** The workloads of manifests/demo. */
export const trustDomain = 'cluster.local';
export const meshNamespace = 'demo';

/** How long a certificate lives, so that several renewals are seen within a run. */
export const certificateLifetime = '12s';

/** The applications that ask api. */
export const clientNames = ['web', 'batch', 'legacy'] as const;
export type ClientName = (typeof clientNames)[number];

/** How often each of them asks; milliseconds. */
export const askEveryMs = { web: 40, batch: 100, legacy: 250 } as const satisfies Record<ClientName, number>;

/** How long web calls api without sidecars; milliseconds. */
export const directMs = 1000;

export function identityOf(serviceAccount: string): string {
  return `spiffe://${trustDomain}/ns/${meshNamespace}/sa/${serviceAccount}`;
}
