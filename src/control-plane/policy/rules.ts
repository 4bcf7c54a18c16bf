import type { PolicyCondition, PolicyOperation, PolicyRule, PolicySource } from '../../control-api.ts';
import type { AuthorizationRule } from './authorization-schema.ts';
import { httpOperationFields, httpSourceFields } from './authorization-schema.ts';
import { isConditionKey, isHttpKey } from './conditions.ts';
import type { Finding, Path } from './finding.ts';
import { warning } from './finding.ts';

type List = readonly string[] | null | undefined;
type Source = NonNullable<AuthorizationRule['from']>[number]['source'];
type Operation = NonNullable<AuthorizationRule['to']>[number]['operation'];
type Condition = NonNullable<AuthorizationRule['when']>[number];

/** A rule of a policy without problems as sidecars get it; none when it is one of ALLOW that asks for something of HTTP. */
export function wireRule(
  rule: AuthorizationRule,
  { action, namespace, path }: { readonly action: string; readonly namespace: string; readonly path: Path },
): { readonly rule: PolicyRule | undefined; readonly warnings: readonly Finding[] } {
  const http = httpAttributes(rule, path);
  const warnings = [...unmatched(rule, path), ...emptied(rule, path)];
  if (action === 'ALLOW' && http.length > 0) {
    const left = http.map((at) => warning(at, 'is of HTTP, so that its rule of ALLOW never matches on TCP'));
    return { rule: undefined, warnings: [...left, ...warnings] };
  }
  const left = http.map((at) => warning(at, `is of HTTP, so that its rule of ${action} applies without it on TCP`));
  const { from, to, when } = rule;
  const conditions = (when ?? []).filter(({ key }) => isConditionKey(key)).map(wireCondition);
  const wire: PolicyRule = {
    ...(from && { from: from.map(({ source }) => wireSource(source, namespace)) }),
    ...(to && { to: to.map(({ operation }) => wireOperation(operation)) }),
    ...(conditions.length > 0 && { when: conditions }),
  };
  return { rule: wire, warnings: [...left, ...warnings] };
}

function wireSource(source: Source, namespace: string): PolicySource {
  const accounts = (list: List) => list?.map((name) => (name.includes('/') ? name : `${namespace}/${name}`));
  return filled({
    principals: source.principals,
    notPrincipals: source.notPrincipals,
    namespaces: source.namespaces,
    notNamespaces: source.notNamespaces,
    serviceAccounts: accounts(source.serviceAccounts),
    notServiceAccounts: accounts(source.notServiceAccounts),
    ipBlocks: source.ipBlocks,
    notIpBlocks: source.notIpBlocks,
  });
}

function wireOperation({ ports, notPorts }: Operation): PolicyOperation {
  return filled({ ports: ports?.map(Number), notPorts: notPorts?.map(Number) });
}

function wireCondition({ key, values, notValues }: Condition): PolicyCondition {
  // Conditions with another key were left out.
  return { key: key as PolicyCondition['key'], ...filled({ values, notValues }) };
}

/** Without lists that are empty: to Istio these stand for nothing. */
function filled<T>(lists: Readonly<Record<string, readonly T[] | null | undefined>>): Record<string, T[]> {
  return Object.fromEntries(
    Object.entries(lists).flatMap(([name, items]) => (items?.length ? [[name, [...items]]] : [])),
  );
}

function httpAttributes({ from, to, when }: AuthorizationRule, path: Path): readonly Path[] {
  const isSet = (object: Readonly<Record<string, unknown>>, name: string) =>
    Array.isArray(object[name]) && object[name].length > 0;
  return [
    ...(from ?? []).flatMap(({ source }, index) =>
      httpSourceFields.filter((name) => isSet(source, name)).map((name) => [...path, 'from', index, 'source', name]),
    ),
    ...(to ?? []).flatMap(({ operation }, index) =>
      httpOperationFields
        .filter((name) => isSet(operation, name))
        .map((name) => [...path, 'to', index, 'operation', name]),
    ),
    ...(when ?? []).flatMap(({ key }, index) => (isHttpKey(key) ? [[...path, 'when', index, 'key']] : [])),
  ];
}

/** Principals that nobody can have: Istio compares them as they are written, and matches nobody. */
function unmatched({ from, when }: AuthorizationRule, path: Path): readonly Finding[] {
  const inList = (list: List, at: Path) =>
    (list ?? []).flatMap((principal, index) => {
      const why = whyUnmatched(principal);
      return why === undefined ? [] : [warning([...at, index], why)];
    });
  return [
    ...(from ?? []).flatMap(({ source }, index) =>
      (['principals', 'notPrincipals'] as const).flatMap((name) =>
        inList(source[name], [...path, 'from', index, 'source', name]),
      ),
    ),
    ...(when ?? []).flatMap((condition, index) =>
      condition.key === 'source.principal'
        ? (['values', 'notValues'] as const).flatMap((name) => inList(condition[name], [...path, 'when', index, name]))
        : [],
    ),
  ];
}

function whyUnmatched(principal: string): string | undefined {
  if (principal.startsWith('spiffe://'))
    return 'begins with spiffe://, which no principal does here, so that it matches nobody';
  const literal = principal.startsWith('*') ? principal.slice(1) : principal.replace(/\*$/, '');
  return literal.includes('*') ? 'has a * that is neither first nor last, so that it matches nobody' : undefined;
}

/** Lists without an item: to Istio as if they were not there, whatever their author meant. */
function emptied({ from, to, when }: AuthorizationRule, path: Path): readonly Finding[] {
  const inObject = (object: object, at: Path) =>
    Object.entries(object)
      .filter(([, items]) => Array.isArray(items) && items.length === 0)
      .map(([name]) => warning([...at, name], 'is an empty list, which is as if it were not there'));
  return [
    ...(from ?? []).flatMap(({ source }, index) => inObject(source, [...path, 'from', index, 'source'])),
    ...(to ?? []).flatMap(({ operation }, index) => inObject(operation, [...path, 'to', index, 'operation'])),
    ...(when ?? []).flatMap((condition, index) => inObject(condition, [...path, 'when', index])),
  ];
}
