import { parser } from '@prometheus-io/lezer-promql';

type Node = ReturnType<typeof parser.parse>['topNode'];

/** A comparison of a label with a text, as in `{direction="inbound"}`. */
export interface Matcher {
  readonly label: string;
  readonly operator: string;
  readonly value: string;
}

/** A metric that an expression reads. */
export interface Selector {
  readonly metric: string;
  readonly matchers: readonly Matcher[];
}

/** What an expression of Prometheus' query language reads. */
export interface Expression {
  readonly selectors: readonly Selector[];
  /** In `by`, `without`, `on`, `ignoring`, `group_left` and `group_right`. */
  readonly groupingLabels: readonly string[];
  /** Labels of its result, of all that `labelsOf` says its metrics have; the ones of `or` are those of either side. */
  resultLabels(labelsOf: (metric: string) => readonly string[]): ReadonlySet<string>;
}

/** Parses an expression with the parser of Prometheus' own editor. Throws `SyntaxError` naming where it is wrong. */
export function parseExpression(text: string): Expression {
  const tree = parser.parse(text);
  const textOf = (node: Node) => text.slice(node.from, node.to);
  const selectors: Selector[] = [];
  const groupingLabels: string[] = [];
  tree.iterate({
    enter({ type, node }) {
      if (type.isError) throw new SyntaxError(`${text}: not PromQL at ${node.from} ('${text.slice(node.from)}')`);
      if (type.name === 'VectorSelector') selectors.push(selectorOf(node, textOf));
      if (type.name === 'GroupingLabels') groupingLabels.push(...labelsIn(node, textOf));
    },
  });
  const top = tree.topNode.firstChild;
  if (top === null) throw new SyntaxError('An expression is empty');
  return {
    selectors,
    groupingLabels,
    resultLabels: (labelsOf) => resultLabels(top, textOf, labelsOf),
  };
}

function selectorOf(node: Node, textOf: (node: Node) => string): Selector {
  const name = node.getChild('Identifier');
  if (name === null) throw new SyntaxError(`${textOf(node)}: a selector names no metric`);
  const matchers = node.getChild('LabelMatchers')?.getChildren('UnquotedLabelMatcher') ?? [];
  return {
    metric: textOf(name),
    matchers: matchers.map((matcher) => ({
      label: textOf(childOf(matcher, 'LabelName')),
      operator: textOf(childOf(matcher, 'MatchOp')),
      value: textOf(childOf(matcher, 'StringLiteral')).slice(1, -1),
    })),
  };
}

function labelsIn(node: Node, textOf: (node: Node) => string): string[] {
  return node.getChildren('LabelName').map(textOf);
}

function childOf(node: Node, name: string): Node {
  const child = node.getChild(name);
  if (child === null) throw new SyntaxError(`${node.name} without ${name}`);
  return child;
}

function resultLabels(
  node: Node,
  textOf: (node: Node) => string,
  labelsOf: (metric: string) => readonly string[],
): ReadonlySet<string> {
  const below = (child: Node | null) => (child === null ? new Set<string>() : resultLabels(child, textOf, labelsOf));
  switch (node.name) {
    case 'VectorSelector':
      return new Set(labelsOf(textOf(childOf(node, 'Identifier'))));
    case 'AggregateExpr': {
      const modifier = node.getChild('AggregateModifier');
      if (modifier === null) return new Set();
      const named = new Set(labelsIn(childOf(modifier, 'GroupingLabels'), textOf));
      if (modifier.getChild('By') !== null) return named;
      return without(below(argumentOf(childOf(node, 'FunctionCallBody'))), named);
    }
    case 'FunctionCall': {
      const labels = below(argumentOf(childOf(node, 'FunctionCallBody')));
      return textOf(childOf(node, 'FunctionIdentifier')) === 'histogram_quantile'
        ? without(labels, new Set(['le']))
        : labels;
    }
    case 'BinaryExpr': {
      const left = below(node.firstChild);
      return node.getChild('Or') === null ? left : new Set([...left, ...below(node.lastChild)]);
    }
    default:
      return below(operandOf(node));
  }
}

function without(labels: ReadonlySet<string>, some: ReadonlySet<string>): ReadonlySet<string> {
  return new Set([...labels].filter((label) => !some.has(label)));
}

/** The vector of a call, which may come behind numbers, as in `histogram_quantile(0.99, …)`. */
function argumentOf(body: Node): Node | null {
  for (let child = body.firstChild; child !== null; child = child.nextSibling)
    if (/Selector|Expr|FunctionCall/.test(child.name)) return child;
  return null;
}

/** What parentheses, a sign, a range or an offset is put on. */
function operandOf(node: Node): Node | null {
  return /^(?:Paren|Unary|StepInvariant|Offset|Subquery)Expr$|^MatrixSelector$/.test(node.name)
    ? argumentOf(node)
    : null;
}
