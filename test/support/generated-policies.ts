import fc from 'fast-check';
import type {
  AuthorizationPolicy,
  PolicyCondition,
  PolicyOperation,
  PolicyRule,
  PolicySource,
} from '../../src/control-api.ts';
import type { InboundRequest } from '../../src/policy/authorize.ts';

/*
 * Policies and requests of a very small world, so that they meet: a handful of names that begin and end alike, a few
 * addresses and ports.
 */

const trustDomain = fc.constantFrom('td', 't.d', 'td.b');
const name = fc.constantFrom('a', 'ab', 'a.b', 'b');
const ownId = fc.tuple(trustDomain, name, name).map(([td, ns, sa]) => `${td}/ns/${ns}/sa/${sa}`);
/** Identities that have no namespace. */
const otherId = fc
  .tuple(trustDomain, name, name)
  .chain(([td, one, other]) => fc.constantFrom(`${td}/${one}`, `${td}/ns/${one}`, `${td}/ns/${one}/sa/${other}/b`));
const id = fc.oneof({ weight: 4, arbitrary: ownId }, otherId);
const port = fc.integer({ min: 1, max: 4 });

const starred = (text: fc.Arbitrary<string>) =>
  fc.oneof(
    { weight: 3, arbitrary: text },
    fc.tuple(text, fc.nat(30)).map(([whole, length]) => `${whole.slice(0, length)}*`),
    fc.tuple(text, fc.nat(30)).map(([whole, length]) => `*${whole.slice(length)}`),
    fc.constantFrom('*', '**', '*a*', 'a*b', ''),
  );

export const address = fc.constantFrom(
  '10.0.0.1',
  '10.0.0.2',
  '10.0.1.1',
  '128.0.0.1',
  '2001:db8::1',
  '2001:db8:8000::2',
  '::1',
);
const block = fc.oneof(
  address,
  address.chain((ip) => fc.integer({ min: 0, max: ip.includes(':') ? 128 : 32 }).map((length) => `${ip}/${length}`)),
  fc.constantFrom('0.0.0.0/0', '::/0', '10.0.0.0/24', '10.0.0.0/8', '2001:DB8::/32'),
);

/** Mostly short, and now and then of more than are looked through one by one. */
const listOf = <T>(item: fc.Arbitrary<T>) =>
  fc.oneof(
    { weight: 12, arbitrary: fc.array(item, { minLength: 1, maxLength: 3 }) },
    { weight: 1, arbitrary: fc.array(item, { minLength: 33, maxLength: 40 }) },
    { weight: 1, arbitrary: fc.constant<T[]>([]) },
  );
/** There in so many of ten. */
const inTen = <T>(weight: number, item: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.oneof({ weight, arbitrary: item }, { weight: 10 - weight, arbitrary: fc.constant(undefined) });

/** Mostly about one thing: what is about everything matches nobody. */
function someOf<T extends object>(fields: { readonly [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<Partial<T>> {
  const keys = Object.keys(fields) as (keyof T)[];
  return fc
    .subarray(keys, { maxLength: 2 })
    .chain(
      (wanted) =>
        fc.record(Object.fromEntries(wanted.map((key) => [key, fields[key]])) as never) as fc.Arbitrary<Partial<T>>,
    );
}

const source: fc.Arbitrary<PolicySource> = someOf<Required<PolicySource>>({
  principals: listOf(starred(id)),
  notPrincipals: listOf(starred(id)),
  namespaces: listOf(starred(name)),
  notNamespaces: listOf(starred(name)),
  serviceAccounts: listOf(fc.tuple(name, name).map((both) => both.join('/'))),
  notServiceAccounts: listOf(fc.tuple(name, name).map((both) => both.join('/'))),
  ipBlocks: listOf(block),
  notIpBlocks: listOf(block),
} as never);

const operation: fc.Arbitrary<PolicyOperation> = someOf<Required<PolicyOperation>>({
  ports: listOf(port),
  notPorts: listOf(port),
} as never);

const condition: fc.Arbitrary<PolicyCondition> = fc.oneof(
  ...(
    [
      ['source.principal', starred(id)],
      ['source.namespace', starred(name)],
      ['source.ip', block],
      ['destination.ip', block],
      ['destination.port', port.map(String)],
    ] as const
  ).map(([key, text]) =>
    fc.record({ key: fc.constant(key), values: inTen(5, listOf(text)), notValues: inTen(3, listOf(text)) }),
  ),
);

export const rule: fc.Arbitrary<PolicyRule> = fc.record({
  from: inTen(8, fc.array(source, { maxLength: 3 })),
  to: inTen(4, fc.array(operation, { maxLength: 2 })),
  when: inTen(3, fc.array(condition, { maxLength: 2 })),
});

export const policies: fc.Arbitrary<AuthorizationPolicy[]> = fc
  .array(
    fc.record({
      action: fc.constantFrom('ALLOW', 'ALLOW', 'DENY', 'AUDIT'),
      isDryRun: inTen(2, fc.constant(true)),
      problem: fc.oneof(
        { weight: 1, arbitrary: fc.constant('cannot be read') },
        { weight: 60, arbitrary: fc.constant(undefined) },
      ),
      rules: fc.array(rule, { maxLength: 4 }),
    }),
    { maxLength: 8 },
  )
  .map((list) => list.map((policy, at) => ({ ...policy, name: `shop/policy-${at}` }) as AuthorizationPolicy));

export const request: fc.Arbitrary<InboundRequest> = fc.record({
  destination: fc.record({ ip: address, port }),
  principal: inTen(
    8,
    id.map((text) => `spiffe://${text}`),
  ),
  source: inTen(9, address),
});

/** So many rules that nearly all of them except the same, each together with something of its own, in one policy. */
export const crowdedPolicy: fc.Arbitrary<AuthorizationPolicy> = fc
  .record({
    action: fc.constantFrom('ALLOW', 'DENY', 'DENY', 'AUDIT'),
    common: fc.array(exceptingRule(), { minLength: 1, maxLength: 2 }),
    own: fc.array(rule, { minLength: 40, maxLength: 60 }),
    others: fc.array(rule, { maxLength: 3 }),
  })
  .map(({ action, common, own, others }) => ({
    name: 'shop/crowd',
    action: action as AuthorizationPolicy['action'],
    rules: [...own.map((one, at) => together(common[at % 5 === 4 ? common.length - 1 : 0] ?? {}, one)), ...others],
  }));

function exceptingRule(): fc.Arbitrary<PolicyRule> {
  const few = <T>(item: fc.Arbitrary<T>) => fc.array(item, { minLength: 1, maxLength: 3 });
  return fc.oneof(
    few(starred(id)).map((notPrincipals) => ({ from: [{ notPrincipals }] })),
    few(starred(name)).map((notNamespaces) => ({ from: [{ notNamespaces }] })),
    few(block).map((notIpBlocks) => ({ from: [{ notIpBlocks }] })),
    few(port).map((notPorts) => ({ to: [{ notPorts }] })),
    few(block).map((notValues) => ({ when: [{ key: 'destination.ip' as const, notValues }] })),
  );
}

/** What is common to all stays, and of its own a rule has no more than exceptions, so that they lie at one place. */
function together(common: PolicyRule, { from, when }: PolicyRule): PolicyRule {
  const { notNamespaces, notServiceAccounts } = from?.[0] ?? {};
  const own = { ...(notServiceAccounts && { notServiceAccounts }), ...(notNamespaces && { notNamespaces }) };
  const except = when?.filter(({ values }) => values === undefined) ?? [];
  return {
    ...common,
    ...((common.from ?? Object.keys(own).length > 0) && { from: [{ ...own, ...common.from?.[0] }] }),
    ...((common.when ?? except.length > 0) && { when: [...(common.when ?? []), ...except] }),
  };
}
