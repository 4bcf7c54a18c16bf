import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createPolicySource } from '../src/agent/policy-source.ts';
import { systemClock } from '../src/clock.ts';
import type { AuthorizationPolicy, PolicyRule, PolicyState } from '../src/control-api.ts';
import type { InboundRequest } from '../src/policy/authorize.ts';
import { judge, preparedBytes } from '../src/policy/judge.ts';
import { percentile } from './statistics.ts';

/*
 * What very many AuthorizationPolicies cost, all of which select this workload: a decision, by what meets whom; a reload, in time and
 * in the longest that the event loop waits for it; and memory.
 *
 *   node bench/policies.ts [policies, 10000] [rules of each, 100] [decisions, 20000]
 */

const [policyCount = 10_000, ruleCount = 100, decisions = 20_000] = process.argv.slice(2).map(Number);
const mebibyte = 1024 * 1024;
/** Decisions before those that are measured, until V8 has compiled what they need. */
const warmUp = 5000;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** Rules of all kinds, each about something of its own. */
const kinds: readonly ((n: number) => PolicyRule)[] = [
  (n) => ({ from: [{ principals: [`cluster.local/ns/ns-${n % 5000}/sa/app-${n}`] }], to: [{ ports: [portOf(n)] }] }),
  (n) => ({ from: [{ principals: [`cluster.local/ns/team-${n}-*`], notPrincipals: ['*/sa/batch'] }] }),
  (n) => ({ from: [{ principals: [`*/sa/job-${n}`] }], to: [{ ports: [8080, 8443] }] }),
  (n) => ({
    from: [{ namespaces: [`ns-${n % 3000}`], notPrincipals: [`*/sa/guest-${n}`] }],
    to: [{ ports: [portOf(n)] }],
  }),
  (n) => ({
    from: [{ ipBlocks: [`10.${(n >> 16) & 255}.${(n >> 8) & 255}.0/${24 + (n % 9)}`], notIpBlocks: ['10.0.0.1'] }],
  }),
  (n) => ({ from: [{ serviceAccounts: [`ns-${n}/app`, `ns-${n}/web`] }], to: [{ notPorts: [22] }] }),
  (n) => ({
    from: [{ namespaces: ['shop'] }],
    to: [{ ports: [portOf(n)] }],
    when: [{ key: 'source.ip', values: [`172.16.${n & 255}.0/24`], notValues: [`172.16.${n & 255}.${n % 200}`] }],
  }),
  (n) => ({ from: [{ namespaces: [`*-${n}`] }, { principals: [`cluster.local/ns/many-${n}/sa/*`] }] }),
];
/** Rules of DENY that are for everybody but some. */
const exceptingKinds: readonly ((n: number) => PolicyRule)[] = [
  (n) => ({ from: [{ notNamespaces: ['shop', 'monitoring', `ns-${n}`] }] }),
  (n) => ({ from: [{ notPrincipals: ['*'] }], to: [{ ports: [portOf(n)] }] }),
];

const portOf = (n: number) => 1 + (n % 60_000);

function policiesOf(generation: number): PolicyState {
  let n = 0;
  const authorization = Array.from({ length: policyCount }, (_, at): AuthorizationPolicy => {
    const action = at % 4 === 0 ? 'DENY' : 'ALLOW';
    const all = action === 'DENY' && at % 8 === 0 ? exceptingKinds : kinds;
    const rules = Array.from({ length: ruleCount }, () => (all[n++ % all.length] as (n: number) => PolicyRule)(n));
    return { name: `shop/policy-${generation}-${at}`, action, rules };
  });
  return { mode: 'STRICT', authorization };
}

const request = (id: string | undefined, port: number, source: string): InboundRequest => ({
  destination: { ip: '10.1.2.3', port },
  principal: id && `spiffe://cluster.local/ns/${id}`,
  source,
});
const requests: Readonly<Record<string, (i: number) => InboundRequest>> = {
  'a principal that rules name': (i) => request(`shop/sa/job-${i}`, 8080, '192.0.2.1'),
  'a namespace that very many rules name': (i) => request('shop/sa/web', portOf(i), `172.16.${i & 255}.7`),
  'whoever no rule names': (i) => request(`monitoring/sa/nobody-${i}`, portOf(i), '192.0.2.1'),
  'whoever everybody denies': (i) => request(`elsewhere/sa/x-${i}`, 8080, '192.0.2.1'),
  'an address within many blocks': (i) => request('monitoring/sa/x', 8080, `10.${i % 16}.${i & 255}.${i & 127}`),
  IPv6: (i) => request('shop/sa/none', portOf(i), `2001:db8::${(i & 0xffff).toString(16)}`),
  plaintext: (i) => request(undefined, 60_001 + (i % 5000), '192.0.2.1'),
};

let told = policiesOf(1);
const memoryBefore = used();
let tell = (_: PolicyState | undefined) => {};
const source = createPolicySource(systemClock, {
  policy: () => undefined,
  subscribe({ policyChanged }) {
    tell = policyChanged;
    return () => {};
  },
});

const first = await reload(told);
console.log(
  `${policyCount} policies of ${ruleCount} rules: prepared in ${seconds(first.tookMs)} of CPU, longest stall ${first.stallMs.toFixed(1)} ms`,
);
const held = used();
console.log(
  `the index is ${mib(preparedBytes(told.authorization ?? []))}; the process holds ${mib(held - memoryBefore)} more than with the policies alone (${mib(memoryBefore)})`,
);

console.log('\n| who connects | decision | median, µs | 99 %, µs | mean CPU, µs |\n|---|---|---|---|---|');
for (const [name, make] of Object.entries(requests)) decide(name, make);

console.log('\n| reload | CPU | longest stall, ms | resident after it, MiB |\n|---|---|---|---|');
for (let number = 2; number <= 4; number += 1) {
  told = policiesOf(number);
  collectGarbage();
  const { tookMs, stallMs } = await reload(told);
  collectGarbage();
  console.log(`| ${number} | ${seconds(tookMs)} | ${stallMs.toFixed(1)} | ${mib(used())} |`);
}
source.close();

function decide(name: string, make: (i: number) => InboundRequest): void {
  const policies = told.authorization ?? [];
  for (let i = 0; i < warmUp; i += 1) judge(policies, make(decisions + i));
  const all = Array.from({ length: decisions }, (_, i) => make(i));
  const outcomes = new Map<string, number>();
  const took: number[] = [];
  const cpuFrom = cpuMs();
  for (const one of all) {
    const from = performance.now();
    const { verdict } = judge(policies, one);
    took.push((performance.now() - from) * 1000);
    const outcome = verdict.kind === 'denied' ? verdict.reason : 'allowed';
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  }
  const cpu = ((cpuMs() - cpuFrom) * 1000) / decisions;
  const shown = [...outcomes]
    .sort(([, one], [, other]) => other - one)
    .map(([outcome, count]) => `${outcome} ${Math.round((count * 100) / decisions)} %`);
  const cells = [percentile(took, 50), percentile(took, 99), cpu].map((us) => us.toFixed(1));
  console.log(`| ${name} | ${shown.join(', ')} | ${cells.join(' | ')} |`);
}

/**
 * Until it is in force, with the longest turn of the event loop meanwhile: in CPU time of the thread, so that whatever else the machine
 * does makes it no longer, and collecting garbage, which is part of it, does.
 */
async function reload(policy: PolicyState): Promise<{ tookMs: number; stallMs: number }> {
  const from = cpuMs();
  tell(policy);
  let [last, stallMs] = [from, 0];
  while (source.current() !== policy) {
    await turn();
    const now = cpuMs();
    stallMs = Math.max(stallMs, now - last);
    last = now;
  }
  return { tookMs: last - from, stallMs };
}

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

function used(): number {
  collectGarbage();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

function mib(bytes: number): string {
  return `${Math.round(bytes / mebibyte)} MiB`;
}
