import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import * as client from '@kubernetes/client-node';

/*
 * Checks objects against the models of the Kubernetes client, which are made from the OpenAPI of the API server: unknown
 * fields, wrong types, missing fields. Kubernetes itself drops an unknown field in silence, or refuses it.
 */

interface Model {
  getAttributeTypeMap(): readonly { readonly name: string; readonly baseName: string; readonly type: string }[];
}

const models = client as unknown as Readonly<Record<string, Model>>;
const modelFolder = join(dirname(createRequire(import.meta.url).resolve('@kubernetes/client-node')), 'gen/models');

const modelOf: Readonly<Record<string, string>> = {
  'admissionregistration.k8s.io/v1/MutatingWebhookConfiguration': 'V1MutatingWebhookConfiguration',
  'apps/v1/Deployment': 'V1Deployment',
  'policy/v1/PodDisruptionBudget': 'V1PodDisruptionBudget',
  'rbac.authorization.k8s.io/v1/ClusterRole': 'V1ClusterRole',
  'rbac.authorization.k8s.io/v1/ClusterRoleBinding': 'V1ClusterRoleBinding',
  'rbac.authorization.k8s.io/v1/Role': 'V1Role',
  'rbac.authorization.k8s.io/v1/RoleBinding': 'V1RoleBinding',
  'scheduling.k8s.io/v1/PriorityClass': 'V1PriorityClass',
  'v1/ConfigMap': 'V1ConfigMap',
  'v1/Namespace': 'V1Namespace',
  'v1/Pod': 'V1Pod',
  'v1/Secret': 'V1Secret',
  'v1/Service': 'V1Service',
  'v1/ServiceAccount': 'V1ServiceAccount',
};

/** Every way in which an object is not one that an API server takes, one sentence each. */
export function shapeProblems(object: { readonly apiVersion: string; readonly kind: string }): string[] {
  const kind = `${object.apiVersion}/${object.kind}`;
  const model = modelOf[kind];
  return model === undefined ? [`${kind} is not known here`] : problemsAt(object, model, object.kind);
}

const primitives: Readonly<Record<string, (value: unknown) => boolean>> = {
  string: (value) => typeof value === 'string',
  number: (value) => typeof value === 'number',
  boolean: (value) => typeof value === 'boolean',
  Date: (value) => typeof value === 'string',
  IntOrString: (value) => typeof value === 'number' || typeof value === 'string',
  any: () => true,
};

function problemsAt(value: unknown, type: string, path: string): string[] {
  const primitive = primitives[type];
  if (primitive !== undefined) return primitive(value) ? [] : [`${path} is ${JSON.stringify(value)}, not a ${type}`];
  const item = /^Array<(.+)>$/.exec(type)?.[1];
  if (item !== undefined) {
    if (!Array.isArray(value)) return [`${path} is not a list`];
    return value.flatMap((one, index) => problemsAt(one, item, `${path}[${index}]`));
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [`${path} is not a mapping`];
  const entries = Object.entries(value);
  const member = /^\{ \[key: string\]: (.+); \}$/.exec(type)?.[1];
  if (member !== undefined) return entries.flatMap(([name, one]) => problemsAt(one, member, `${path}.${name}`));
  return modelProblems(Object.fromEntries(entries), type, path);
}

function modelProblems(value: Readonly<Record<string, unknown>>, type: string, path: string): string[] {
  const model = models[type];
  if (model === undefined) throw new TypeError(`There is no model ${type}`);
  const attributes = model.getAttributeTypeMap();
  const required = requiredOf(type);
  const found = Object.entries(value).flatMap(([name, one]) => {
    const attribute = attributes.find(({ baseName }) => baseName === name);
    return attribute === undefined
      ? [`${path} has no field ${name}`]
      : problemsAt(one, attribute.type, `${path}.${name}`);
  });
  const missing = attributes
    .filter(({ name, baseName }) => required.has(name) && value[baseName] === undefined)
    .map(({ baseName }) => `${path}.${baseName} is missing`);
  return [...found, ...missing];
}

/** Only the declaration of a model tells: a field without a question mark. */
function requiredOf(type: string): ReadonlySet<string> {
  const text = readFileSync(join(modelFolder, `${type}.d.ts`), 'utf8');
  return new Set([...text.matchAll(/^ {4}'(\w+)': /gm)].map(([, name = '']) => name));
}
