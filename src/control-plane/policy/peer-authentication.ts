import * as v from 'valibot';
import type { Mode } from '../../policy/mode.ts';
import type { Finding, Read } from './finding.ts';
import { problem, problemOf, shown, warning } from './finding.ts';
import { choice, closed, istioObject, selector } from './schema.ts';
import type { PolicyObject, Scope } from './scope.ts';
import { isOfKnownVersion, problemsOfObject, scopeOf, securityVersions } from './scope.ts';
import { portPattern } from './values.ts';

/** A mode, or UNSET: that of the wider scope. */
export type PeerMode = 'UNSET' | Mode;

/** Istio's PeerAuthentication. */
export interface PeerAuthentication extends Scope {
  readonly mode: PeerMode;
  /** Ports of the workload with a mode of their own. */
  readonly ports: ReadonlyMap<number, PeerMode>;
  /** One sentence why it cannot be followed as it is written: then its scope is STRICT. Absent when it can. */
  readonly problem: string | undefined;
}

const modes = ['UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT'] as const satisfies readonly PeerMode[];
const mutualTls = v.nullish(closed({ mode: v.nullish(choice(modes)) }));

const spec = closed({
  selector: v.nullish(selector),
  mtls: mutualTls,
  portLevelMtls: v.nullish(
    v.pipe(
      v.record(
        v.pipe(
          v.string(),
          v.regex(portPattern, ({ input }) => `is ${shown(input)}, expected a port from 1 to 65535`),
        ),
        mutualTls,
      ),
      v.check((ports) => Object.keys(ports).length > 0, 'has no port, expected at least one, or no such field'),
    ),
  ),
});
type Spec = v.InferOutput<typeof spec>;

/** Istio's PeerAuthentication as it is written. */
export const peerAuthenticationSchema = istioObject(v.nullish(spec), securityVersions, 'PeerAuthentication');

/** Reads a PeerAuthentication; one that cannot be followed as it is written makes its scope STRICT. Never throws. */
export function readPeerAuthentication(object: PolicyObject): Read<PeerAuthentication> {
  const findings = problemsOfObject(peerAuthenticationSchema, object);
  const parsed = v.safeParse(v.nullish(spec, {}), object.spec);
  const read = parsed.typed && isOfKnownVersion(object) ? (parsed.output ?? {}) : undefined;
  // Whom a selector selects that has something wrong in it nobody knows.
  const isSelectorSound = !findings.some(({ path }) => path[1] === 'selector');
  const all = [...findings, ...(read !== undefined && isSelectorSound ? findingsOfSpec(read) : [])];
  const problemText = problemOf(all);
  const scope = scopeOf(object);
  if (problemText !== undefined || read === undefined || !parsed.success)
    return {
      object: { ...scope, mode: 'STRICT', ports: new Map(), problem: problemText ?? 'spec cannot be read' },
      findings: all,
    };
  const ports = Object.entries(read.portLevelMtls ?? {}).map(
    ([port, mtls]) => [Number(port), mtls?.mode ?? 'UNSET'] as const,
  );
  return {
    object: { ...scope, mode: read.mtls?.mode ?? 'UNSET', ports: new Map(ports), problem: undefined },
    findings: all,
  };
}

function findingsOfSpec({ selector, portLevelMtls }: Spec): readonly Finding[] {
  const isForAll = Object.keys(selector?.matchLabels ?? {}).length === 0;
  const found: Finding[] = [];
  if (isForAll && portLevelMtls)
    found.push(problem(['spec', 'portLevelMtls'], 'is given without a selector, expected one with labels'));
  if (isForAll && selector)
    found.push(warning(['spec', 'selector'], 'has no labels, so that it selects the whole namespace'));
  return found;
}
