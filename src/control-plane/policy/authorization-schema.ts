import * as v from 'valibot';
import { conditionProblems } from './conditions.ts';
import { shown } from './finding.ts';
import { closed, filledList, istioObject, list, selector, text, value } from './schema.ts';
import { securityVersions } from './scope.ts';
import { blockRange, namespacePattern, portPattern } from './values.ts';

const portText = v.pipe(
  v.string(({ input }) => `is ${shown(input)}, expected a port in quotes, such as "8080"`),
  v.regex(portPattern, ({ input }) => `is ${shown(input)}, expected a port from 1 to 65535`),
);

/** Whether a text is an address or a CIDR. */
export const isBlock = (block: string): boolean => blockRange(block) !== undefined;

const ipBlock = v.pipe(
  text,
  v.check(isBlock, ({ input }) => `is ${shown(input)}, expected an IP address or a CIDR`),
);

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

/** Understood by Istio and not by sidecars of this mesh: what these narrow would be wider without them. */
const unsupported = (instead: string) =>
  v.nullish(
    v.pipe(
      v.array(v.unknown(), ({ input }) => `is ${shown(input)}, expected a list`),
      v.maxLength(0, `is not supported, expected ${instead}`),
    ),
  );

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
    remoteIpBlocks: unsupported('ipBlocks'),
    notRemoteIpBlocks: unsupported('notIpBlocks'),
  }),
  v.check((object) => hasAny(object, Object.keys(object)), 'is empty, expected at least one list with an item'),
  v.check(
    (object) =>
      !hasAny(object, ['serviceAccounts', 'notServiceAccounts']) ||
      !hasAny(object, ['principals', 'notPrincipals', 'namespaces', 'notNamespaces']),
    'has service accounts together with principals or namespaces, expected one of these',
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
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    for (const { path, predicate } of conditionProblems(dataset.value)) {
      const items = path.map(
        (key) => ({ type: 'unknown', origin: 'value', input: undefined, key, value: key }) as const,
      );
      addIssue({ message: predicate, path: items as unknown as [v.IssuePathItem, ...v.IssuePathItem[]] });
    }
  }),
);

const rule = closed({
  from: filledList(closed({ source })),
  to: filledList(closed({ operation })),
  when: list(condition),
});

const targetRef = closed({ group: v.nullish(text), kind: value, name: value, namespace: v.nullish(text) });

/** What of a policy tells that it is about no workload. */
export const targetedSpec = v.looseObject({
  selector: v.nullish(v.null()),
  targetRef: v.nullish(targetRef),
  targetRefs: list(targetRef),
});

const actions = ['ALLOW', 'DENY', 'AUDIT'] as const;
const action = v.picklist(actions, ({ input }) =>
  input === 'CUSTOM'
    ? 'is CUSTOM, which is not supported, expected ALLOW, DENY or AUDIT'
    : `is ${shown(input)}, expected one of ${actions.join(', ')}`,
);

export const authorizationSpec = closed({
  selector: v.nullish(selector),
  targetRef: v.nullish(targetRef),
  targetRefs: list(targetRef),
  action: v.nullish(action),
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
