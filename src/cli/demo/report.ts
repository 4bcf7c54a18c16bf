import type { ClientFacts } from './client-report.ts';
import type { Mesh, Previewed } from './mesh.ts';
import type { SidecarFacts } from './sidecar-facts.ts';
import { addCounts } from './sidecar-facts.ts';
import type { StoryFacts } from './story.ts';
import type { WireTotals } from './wire-count.ts';
import { tally } from './words.ts';

/** The last line of `remora demo --once --json`. */
export interface Report {
  readonly handshakes: { readonly success: number; readonly failure: number };
  readonly requests: { readonly sent: number; readonly ok: number };
  readonly renewals: number;
  readonly refusals: Readonly<Record<string, number>>;
  /** Bytes of what web and api say to each other that could be read on the wire between them. */
  readonly bytesOnTheWireInClear: number;
  /** The same with the sidecars off: what proves that such bytes would have been seen. */
  readonly bytesOnTheWireInClearWithoutSidecars: number;
  /** What legacy, which has no sidecar, was answered under PERMISSIVE, and how often it was refused under STRICT. */
  readonly modes: {
    readonly permissive: { readonly legacyOk: number };
    readonly strict: { readonly legacyRefused: number };
  };
  /** Whom the preview of STRICT named, before the switch. */
  readonly preview: readonly Previewed[];
  /** Connections that were cut because a policy does not permit them any more. */
  readonly policyClosed: number;
  /** Namespaces, rules, processes and files that were still there after the clean-up. */
  readonly leftovers: number;
}

/** What a whole run has shown. */
export interface RunFacts {
  readonly sidecars: readonly SidecarFacts[];
  readonly web: ClientFacts;
  readonly legacy: ClientFacts;
  /** On the wire while the sidecars ran, and after they were off. */
  readonly wire: WireTotals;
  readonly wireWithoutSidecars: WireTotals;
  readonly story: StoryFacts;
  readonly leftovers: readonly string[];
}

/** The marker of what web and api say to each other. */
export const meshMarker = 'mesh';

export function reportOf({ sidecars, web, wire, wireWithoutSidecars, story, leftovers }: RunFacts): Report {
  const refusals = addCounts(sidecars.map((sidecar) => sidecar.refusals));
  const sum = (pick: (facts: SidecarFacts) => number) => sidecars.reduce((total, facts) => total + pick(facts), 0);
  return {
    // Every handshake has two ends, of which one accepts.
    handshakes: {
      success: sum((facts) => facts.handshakes.accepted),
      failure: sum((facts) => facts.handshakes.failed),
    },
    requests: { sent: web.sent, ok: web.ok },
    renewals: sum((facts) => facts.renewals),
    refusals,
    modes: {
      permissive: { legacyOk: story.legacyOkPermissive },
      strict: { legacyRefused: refusals.plaintext_in_strict ?? 0 },
    },
    preview: story.preview,
    policyClosed: story.policyClosed,
    bytesOnTheWireInClear: wire.clearBytes[meshMarker] ?? 0,
    bytesOnTheWireInClearWithoutSidecars: wireWithoutSidecars.clearBytes[meshMarker] ?? 0,
    leftovers: leftovers.length,
  };
}

/** What did not hold, one sentence each; empty when the demo has shown what it promises. */
export function brokenPromises(
  facts: RunFacts,
  { isCaptured, requiredRefusal }: Pick<Mesh, 'isCaptured' | 'requiredRefusal'>,
): string[] {
  const { web, wire, story, leftovers } = facts;
  const report = reportOf(facts);
  const promises: readonly [holds: boolean, otherwise: string][] = [
    [report.handshakes.success > 0, 'No handshake succeeded, expected one at least'],
    [
      web.sent > 0 && web.sent === web.ok,
      `web sent ${web.sent} requests and ${web.ok} were answered (${tally(web.saw)}), expected all`,
    ],
    [
      story.legacyOkPermissive > 0 || !isCaptured,
      'legacy was answered 0 times under PERMISSIVE, expected some answers',
    ],
    [
      story.preview.some(({ caller }) => caller.endsWith('/legacy')) || !isCaptured,
      'The preview of STRICT did not name legacy, which was answered',
    ],
    [story.legacyOkStrict === 0, `legacy was answered ${story.legacyOkStrict} times under STRICT, expected never`],
    [story.batchOk > 0, 'batch was answered 0 times before it was denied, expected some answers'],
    [story.policyClosed > 0, 'No connection was cut when batch was denied, expected its long one to be'],
    [(report.refusals.policy_deny ?? 0) >= 1, 'Nothing was refused as policy_deny, expected batch to be'],
    [report.renewals >= 1, 'No certificate was renewed, expected one renewal at least'],
    [(report.refusals[requiredRefusal] ?? 0) >= 1, `Nothing was refused as ${requiredRefusal}, expected legacy to be`],
    [wire.tunnelFrames > 0, `The wire carried no tunnel in ${wire.frames} frames, so nothing is proved about it`],
    [
      report.bytesOnTheWireInClear === 0,
      `${report.bytesOnTheWireInClear} bytes between web and api could be read on the wire, expected 0`,
    ],
    [
      report.bytesOnTheWireInClearWithoutSidecars > 0,
      'Without the sidecars nothing could be read on the wire either, so the 0 bytes before prove nothing',
    ],
    [leftovers.length === 0, `Left behind after the clean-up: ${leftovers.join(', ')}`],
  ];
  return promises.filter(([holds]) => !holds).map(([, otherwise]) => otherwise);
}

/** The report for a person. */
export function summaryOf(report: Report): string[] {
  const { handshakes, requests, renewals, refusals, bytesOnTheWireInClear, leftovers } = report;
  return [
    `handshakes        ${handshakes.success} succeeded, ${handshakes.failure} failed`,
    `requests          ${requests.sent} sent by web, ${requests.ok} answered`,
    `renewals          ${renewals}`,
    `refusals          ${tally(refusals) || 'none'}`,
    `modes             legacy answered ${report.modes.permissive.legacyOk}× under PERMISSIVE, refused ${report.modes.strict.legacyRefused}× under STRICT`,
    `preview           ${report.preview.map(({ caller, port }) => `${caller} on port ${port}`).join(', ') || 'nobody'}`,
    `cut by a policy   ${report.policyClosed}`,
    `bytes in clear    ${bytesOnTheWireInClear} with sidecars, ${report.bytesOnTheWireInClearWithoutSidecars} without`,
    `left behind       ${leftovers}`,
  ];
}
