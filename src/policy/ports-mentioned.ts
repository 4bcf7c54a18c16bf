import type { AuthorizationPolicy, PolicyRule } from '../control-api.ts';

/** Whoever asks about all ports asks again and again; 10,000 policies take a moment. */
const known = new WeakMap<readonly AuthorizationPolicy[], readonly number[]>();

/** The ports that rules name, in ascending order: to all others the policies say the same. */
export function portsMentioned(policies: readonly AuthorizationPolicy[]): readonly number[] {
  const ports = known.get(policies) ?? sorted(policies.flatMap(({ rules }) => rules.flatMap(portsOf)));
  known.set(policies, ports);
  return ports;
}

function portsOf({ to = [], when = [] }: PolicyRule): number[] {
  const conditions = when.filter(({ key }) => key === 'destination.port');
  return [
    ...to.flatMap(({ ports = [], notPorts = [] }) => [...ports, ...notPorts]),
    ...conditions.flatMap(({ values = [], notValues = [] }) => [...values, ...notValues].map(Number)),
  ];
}

const sorted = (ports: readonly number[]) =>
  [...new Set(ports)].filter(Number.isInteger).sort((one, other) => one - other);
