import type { AuthorizationPolicy, PolicyRule } from '../../control-api.ts';

/** What the control plane calls its mesh, unless it is told otherwise. */
export const defaultTrustDomain = 'cluster.local';

/** As in Istio, what begins so in a policy is of the mesh's own trust domain, whatever that is called. */
const pointer = 'cluster.local/';

type Principals = readonly string[] | undefined;

/** What was made of a policy that stays the same object. */
const made = new WeakMap<AuthorizationPolicy, { readonly trustDomain: string; readonly policy: AuthorizationPolicy }>();

/**
 * The policy with each principal of `cluster.local/…` beside it as one of the mesh's own trust domain; the same object for the same
 * one, and itself where nothing is to be added.
 */
export function withOwnDomain(policy: AuthorizationPolicy, trustDomain: string): AuthorizationPolicy {
  if (`${trustDomain}/` === pointer) return policy;
  const known = made.get(policy);
  if (known?.trustDomain === trustDomain) return known.policy;
  const isMeant = policy.rules.some((rule) => principalsOf(rule).some((one) => one.startsWith(pointer)));
  const told = isMeant ? { ...policy, rules: policy.rules.map((rule) => ruleOf(rule, trustDomain)) } : policy;
  made.set(policy, { trustDomain, policy: told });
  return told;
}

function ruleOf({ from, when, ...rest }: PolicyRule, trustDomain: string): PolicyRule {
  const beside = (name: string, list: Principals) =>
    list && { [name]: [...new Set(list.flatMap((one) => [one, ...ownOf(one, trustDomain)]))] };
  return {
    ...rest,
    ...(from && {
      from: from.map((source) => ({
        ...source,
        ...beside('principals', source.principals),
        ...beside('notPrincipals', source.notPrincipals),
      })),
    }),
    ...(when && {
      when: when.map((one) =>
        one.key === 'source.principal'
          ? { ...one, ...beside('values', one.values), ...beside('notValues', one.notValues) }
          : one,
      ),
    }),
  };
}

function ownOf(principal: string, trustDomain: string): string[] {
  return principal.startsWith(pointer) ? [`${trustDomain}/${principal.slice(pointer.length)}`] : [];
}

function principalsOf({ from = [], when = [] }: PolicyRule): string[] {
  return [
    ...from.flatMap(({ principals = [], notPrincipals = [] }) => [...principals, ...notPrincipals]),
    ...when.flatMap(({ key, values = [], notValues = [] }) =>
      key === 'source.principal' ? [...values, ...notValues] : [],
    ),
  ];
}

/** Principals of a policy that nobody of these trust domains has, the mesh's own among them. */
export function foreignPrincipals({ rules }: AuthorizationPolicy, trustDomains: readonly string[]): readonly string[] {
  return [...new Set(rules.flatMap(principalsOf))].filter((one) => !mayBeOf(one, trustDomains));
}

/** Of a suffix nobody can tell, and of what is no principal another warning does. */
function mayBeOf(principal: string, trustDomains: readonly string[]): boolean {
  if (/^(?:\*|spiffe:\/\/|cluster\.local\/)/.test(principal)) return true;
  const [domain = ''] = principal.split('/');
  if (domain.length < principal.length || !principal.endsWith('*')) return trustDomains.includes(domain);
  return trustDomains.some((one) => `${one}/`.startsWith(domain.slice(0, -1)));
}
