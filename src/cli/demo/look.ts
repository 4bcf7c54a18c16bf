import type { Clock } from '../../clock.ts';
import { FailureError } from '../../errors.ts';
import type { Crew } from './crew.ts';
import type { Look } from './mesh.ts';
import type { PodPicture, RefusalPicture } from './picture.ts';
import type { Page } from './scrape.ts';
import type { SidecarFacts } from './sidecar-facts.ts';
import { sidecarFacts } from './sidecar-facts.ts';
import type { Refusal } from './sidecar-log.ts';
import type { WireTotals } from './wire-count.ts';

/** A sidecar, and where its pages are. */
export interface SidecarSite {
  readonly name: string;
  readonly metricsUrl: string;
  readonly readyUrl: string;
}

export interface Eyes {
  readPage(url: string): Promise<Page>;
  readWire(): WireTotals | Promise<WireTotals>;
  /** Who has an address; the address itself for a stranger. */
  nameOf(ip: string): string;
}

const readyDeadlineMs = 20_000;
const readyPollMs = 50;

/** Asks everything of the mesh once. A sidecar that does not answer has no facts. */
export async function lookAt(crew: Crew, sidecars: readonly SidecarSite[], eyes: Eyes): Promise<Look> {
  const pods = await Promise.all(sidecars.map((site) => podPicture(site, crew, eyes)));
  return {
    pods: [...pods, { name: 'legacy', sidecar: undefined }],
    edges: crew.log.edges(),
    refusals: refusalPictures(crew.log.refusals(), eyes.nameOf),
    clients: crew.clients(),
    wire: await eyes.readWire(),
    policyClosed: crew.log.policyClosed(),
  };
}

/** Adds up what is refused to the addresses of one pod. */
export function refusalPictures(refusals: readonly Refusal[], nameOf: (ip: string) => string): RefusalPicture[] {
  const rows = new Map<string, RefusalPicture>();
  for (const { sidecar, peerIp, reason, count } of refusals) {
    const peer = nameOf(peerIp);
    const key = [sidecar, peer, reason].join(' ');
    rows.set(key, { sidecar, peer, reason, count: count + (rows.get(key)?.count ?? 0) });
  }
  return [...rows.values()];
}

async function podPicture({ name, metricsUrl }: SidecarSite, { log }: Crew, eyes: Eyes): Promise<PodPicture> {
  const facts = await factsAt(metricsUrl, eyes).catch(() => undefined);
  return { name, sidecar: { identity: log.identityOf(name), facts } };
}

async function factsAt(url: string, eyes: Eyes): Promise<SidecarFacts | undefined> {
  const { status, body } = await eyes.readPage(url);
  return status === 200 ? sidecarFacts(body) : undefined;
}

/** Resolves when the sidecar calls itself ready; rejects with its last answer after a while. */
export async function untilReady({ name, readyUrl }: SidecarSite, eyes: Eyes, crew: Crew, clock: Clock): Promise<void> {
  const deadlineMs = clock.monotonic() + readyDeadlineMs;
  for (;;) {
    const answer = await Promise.race([eyes.readPage(readyUrl).catch(() => undefined), crew.failure]);
    if (answer?.status === 200) return;
    if (clock.monotonic() > deadlineMs) {
      const last = answer === undefined ? 'it does not answer' : answer.body.trim();
      throw new FailureError(`The sidecar of ${name} was not ready within ${readyDeadlineMs / 1000} s: ${last}`);
    }
    await clock.sleep(readyPollMs);
  }
}
