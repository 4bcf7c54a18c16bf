import * as v from 'valibot';
import { isCidr } from '../../addresses.ts';
import { shown } from './finding.ts';
import { choice, closed, filledList, istioObject, list, selector, text, value } from './schema.ts';
import { securityVersions } from './scope.ts';

export const portPattern = /^(?:[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])$/;
const portText = v.pipe(
  v.string(({ input }) => `is ${shown(input)}, expected a port in quotes, such as "8080"`),
  v.regex(portPattern, ({ input }) => `is ${shown(input)}, expected a port from 1 to 65535`),
);

/** An address or CIDR that a peer can be held against; their addresses are never IPv4 in the form of IPv6. */
export function isBlock(block: string): boolean {
  return isCidr(block) && !/^::ffff:.*\./i.test(block);
}

const ipBlock = v.pipe(
  text,
  v.check(isBlock, ({ input }) => `is ${shown(input)}, expected an IP address or a CIDR`),
);

/** Namespaces are matched whole: what Istio's regular expression would make of other characters is nothing to rely on. */
export const namespacePattern = /^(?:\*|\*?[-\w.]+|[-\w.]+\*)$/;
const namespace = v.pipe(
  value,
  v.regex(namespacePattern, ({ input }) => `is ${shown(input)}, expected a namespace, with * first or last at most`),
);

const serviceAccount = v.pipe(
  value,
  v.regex(
    /^(?:[-\w.]+\/)?[-\w.]+$/,
    ({ input }) => `is ${shown(input)}, expected the name of a service account, or namespace/name`,
  ),
);

export const httpSourceFields = ['requestPrincipals', 'notRequestPrincipals'] as const;
export const httpOperationFields = ['hosts', 'notHosts', 'methods', 'notMethods', 'paths', 'notPaths'] as const;

const unsupported = list(value);
/** Understood by Istio and not by sidecars of this mesh: what they narrow would be wider without them. */
export const unsupportedSourceFields = ['remoteIpBlocks', 'notRemoteIpBlocks'] as const;

type Lists = Readonly<Record<string, unknown>>;
const isFilled = (input: unknown) => Array.isArray(input) && input.length > 0;
const hasAny = (object: Lists, names: readonly string[]) => names.some((name) => isFilled(object[name]));

const source = v.pipe(
  closed({
    principals: list(value),
    notPrincipals: list(value),
    requestPrincipals: list(value),
    notRequestPrincipals: list(value),
    namespaces: list(namespace),
    notNamespaces: list(namespace),
    serviceAccounts: list(serviceAccount),
    notServiceAccounts: list(serviceAccount),
    ipBlocks: list(ipBlock),
    notIpBlocks: list(ipBlock),
    remoteIpBlocks: unsupported,
    notRemoteIpBlocks: unsupported,
  }),
  v.check((object) => hasAny(object, Object.keys(object)), 'is empty, expected at least one list with an item'),
  v.check(
    (object) =>
      !hasAny(object, ['serviceAccounts', 'notServiceAccounts']) ||
      !hasAny(object, ['principals', 'notPrincipals', 'namespaces', 'notNamespaces']),
    'has service accounts together with principals or namespaces, expected one of these',
  ),
  v.check(
    (object) => !hasAny(object, unsupportedSourceFields),
    'has remoteIpBlocks or notRemoteIpBlocks, which are not supported, expected ipBlocks',
  ),
);

const operation = v.pipe(
  closed({
    hosts: list(value),
    notHosts: list(value),
    ports: list(portText),
    notPorts: list(portText),
    methods: list(value),
    notMethods: list(value),
    paths: list(value),
    notPaths: list(value),
  }),
  v.check((object) => hasAny(object, Object.keys(object)), 'is empty, expected at least one list with an item'),
);

const condition = v.pipe(
  closed({ key: value, values: list(value), notValues: list(value) }),
  v.check((object) => hasAny(object, ['values', 'notValues']), 'has no value, expected values or notValues'),
);

const rule = closed({
  from: filledList(closed({ source })),
  to: filledList(closed({ operation })),
  when: list(condition),
});

const targetRef = closed({
  group: v.nullish(text),
  kind: v.nullish(text),
  name: v.nullish(text),
  namespace: v.nullish(text),
});

export const actions = ['ALLOW', 'DENY', 'AUDIT', 'CUSTOM'] as const;

export const authorizationSpec = closed({
  selector: v.nullish(selector),
  targetRef: v.nullish(targetRef),
  targetRefs: list(targetRef),
  action: v.nullish(choice(actions)),
  provider: v.nullish(closed({ name: v.nullish(text) })),
  rules: list(rule),
});
export type AuthorizationSpec = v.InferOutput<typeof authorizationSpec>;
export type AuthorizationRule = v.InferOutput<typeof rule>;

/** Istio's AuthorizationPolicy as it is written. */
export const authorizationPolicySchema = istioObject(
  v.nullish(authorizationSpec),
  securityVersions,
  'AuthorizationPolicy',
);
