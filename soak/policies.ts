import type { Mode } from '../src/policy/mode.ts';
import { peerAuthentication } from '../test/support/mesh.ts';
import type { Dice } from './dice.ts';
import type { PodName } from './faults.ts';
import { clients } from './faults.ts';

/*
 * Istio's objects that the soak writes into the registry while it runs. All of them are for the whole namespace.
 */

const namespace = 'shop';
const principalOf = (name: string) => `cluster.local/ns/${namespace}/sa/${name}`;
const from = (source: object) => ({ from: [{ source }] });

/** The mode of the namespace, which goes before that of the mesh. */
export function modePolicy(mode: Mode): object {
  return { ...peerAuthentication(mode), metadata: { name: 'soak-mode', namespace } };
}

/** Refuses the identity of one pod everywhere, and nobody else. */
export function denyPolicy(pod: PodName): object {
  return policy(`soak-deny-${pod}`, { action: 'DENY', rules: [from({ principals: [principalOf(pod)] })] });
}

/** Decides nothing, for a file that is to say nothing: an empty one is refused, and one that is removed may be missed while it is read. */
export function idlePolicy(name: string): object {
  return policy(name, { action: 'AUDIT', rules: [matchingNone[0](0)] });
}

export const policyCount = { least: 100, most: 300 } as const;
const mostRules = 6;

/** Policies of every action that together refuse no client of the soak; others at each throw. */
export function harmlessPolicies(dice: Dice): object[] {
  const everybody = policy('soak-everybody', { action: 'ALLOW', rules: [dice.pick(matchingAll)] });
  const others = Array.from({ length: dice.whole(policyCount.least, policyCount.most) - 1 }, (_, at) => {
    const { action, ruleOf, isDryRun } = dice.pick(harmless);
    const rules = Array.from({ length: dice.whole(1, mostRules) }, () => ruleOf(dice));
    return policy(`soak-${at}`, { action, rules }, isDryRun);
  });
  return dice.shuffled([everybody, ...others]);
}

type RuleOf<T> = (from: T) => object;

const matchingAll: readonly [object, ...object[]] = [
  {},
  from({ principals: clients.map(principalOf) }),
  from({ principals: [principalOf('*')] }),
  from({ namespaces: [namespace] }),
  { ...from({ serviceAccounts: clients }), to: [{ operation: { notPorts: ['9'] } }] },
  { when: [{ key: 'source.principal', values: ['*'] }] },
];

const matchingNone: readonly [RuleOf<number>, ...RuleOf<number>[]] = [
  (number) => from({ principals: [principalOf(`nobody-${number}`)] }),
  (number) => from({ namespaces: [`other-${number}`, `*-${number}`] }),
  (number) => from({ ipBlocks: [`192.0.2.${number}`] }),
  (number) => ({ to: [{ operation: { ports: [String(20_000 + number)] } }] }),
  () => from({ notPrincipals: [principalOf('*')] }),
];

const nobody: RuleOf<Dice> = (dice) => dice.pick(matchingNone)(dice.whole(0, 255));
const anybody: RuleOf<Dice> = (dice) => (dice.next() < 0.5 ? dice.pick(matchingAll) : nobody(dice));

interface Harmless {
  readonly action: 'ALLOW' | 'DENY' | 'AUDIT';
  readonly ruleOf: RuleOf<Dice>;
  readonly isDryRun?: true;
}

/** Beside one that allows everybody. */
const harmless: readonly [Harmless, ...Harmless[]] = [
  { action: 'ALLOW', ruleOf: anybody },
  { action: 'DENY', ruleOf: nobody },
  { action: 'AUDIT', ruleOf: anybody },
  { action: 'DENY', ruleOf: anybody, isDryRun: true },
  { action: 'ALLOW', ruleOf: nobody, isDryRun: true },
];

function policy(name: string, spec: object, isDryRun?: true): object {
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name, namespace, ...(isDryRun && { annotations: { 'istio.io/dry-run': 'true' } }) },
    spec,
  };
}
