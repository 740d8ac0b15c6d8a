import type { ClusterNode, Link } from '../../api/types';

/** Where a node's card stands: left and top of a card of fixed size. */
export interface Placed {
  node: ClusterNode;
  x: number;
  y: number;
  lane: 'lead' | 'sync' | 'async';
}

/** One replication link, drawn from a card's edge to another's. */
export interface Edge {
  link: Link;
  /** SVG path. */
  d: string;
  /** Middle of the path, where the lag stands. */
  mid: { x: number; y: number };
}

export interface Zone {
  lane: 'sync' | 'async';
  /** Nodes of the lane that have no card. */
  more: number;
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Layout {
  width: number;
  height: number;
  narrow: boolean;
  cardWidth: number;
  cards: Placed[];
  edges: Edge[];
  zones: Zone[];
}

export const cardHeight = 76;
/** The card of the node that leads is taller: it also carries the write rate. */
export const leadHeight = 108;
const gap = 14;
const zonePad = 16;
const zoneTitle = 28;
/** A lane has this many cards at most: a picture of more says less than the table. */
export const maxLane = 8;
/** The line under the cards that says how many more there are. */
const moreLine = 26;
const zoneGap = 20;
/** Below this width the lead stands above the others instead of beside them. */
const narrowBelow = 640;

const lead = new Set(['leader', 'primary']);
const aside = new Set(['clone', 'read-only replica']);

/**
 * lanes sorts nodes into the one that leads, those that follow it and can take
 * over as they are, and those that stand apart (clones, read-only replicas).
 * If two nodes claim to lead, or none does, the first by term leads the
 * drawing and the page's verdict says the rest.
 */
export function lanes(nodes: readonly ClusterNode[]): { lead: ClusterNode | null; follow: ClusterNode[]; apart: ClusterNode[] } {
  const byName = (a: ClusterNode, b: ClusterNode) => a.name.localeCompare(b.name, undefined, { numeric: true });
  const term = (n: ClusterNode) => Number(n.term ?? 0);
  const leads = nodes.filter((n) => lead.has(n.role)).sort((a, b) => term(b) - term(a) || byName(a, b));
  const first = leads[0] ?? null;
  return {
    lead: first,
    follow: nodes.filter((n) => n !== first && !aside.has(n.role)).sort(byName),
    apart: nodes.filter((n) => n !== first && aside.has(n.role)).sort(byName),
  };
}

const trouble = { down: 0, degraded: 1, unknown: 2, up: 3 } as const;

/** The nodes of a lane that get a card: those in trouble before those far behind before the others, then in the order given. */
function shown(group: readonly ClusterNode[]): ClusterNode[] {
  if (group.length <= maxLane) return [...group];
  const worst = [...group].sort((a, b) => (trouble[a.status.level] ?? 2) - (trouble[b.status.level] ?? 2) || Number(b.lagBytes ?? 0) - Number(a.lagBytes ?? 0)).slice(0, maxLane);
  return group.filter((n) => worst.includes(n));
}

/** Places cards and edges in a drawing of the given width. Pure: the same input gives the same picture. */
export function place(nodes: readonly ClusterNode[], links: readonly Link[], width: number): Layout {
  const narrow = width < narrowBelow;
  const { lead: first, follow, apart } = lanes(nodes);
  const cardWidth = narrow ? width - 2 * zonePad - 34 : Math.min(300, Math.floor(width * 0.34));
  const cards: Placed[] = [];
  const zones: Zone[] = [];

  const columnX = narrow ? zonePad + 34 : width - cardWidth - zonePad;
  const zoneX = narrow ? 0 : columnX - zonePad;
  const zoneWidth = cardWidth + 2 * zonePad + (narrow ? 34 : 0);
  let y = narrow && first ? leadHeight + 40 : 0;
  for (const [lane, group] of [['sync', follow], ['async', apart]] as const) {
    if (group.length === 0) continue;
    const cardsOf = shown(group);
    const more = group.length - cardsOf.length;
    const height = zoneTitle + zonePad + cardsOf.length * cardHeight + (cardsOf.length - 1) * gap + (more > 0 ? moreLine : 0) + zonePad / 2;
    zones.push({ lane, more, x: zoneX, y, width: zoneWidth, height });
    cardsOf.forEach((node, i) => cards.push({ node, lane, x: columnX, y: y + zoneTitle + zonePad / 2 + i * (cardHeight + gap) }));
    y += height + zoneGap;
  }
  const height = Math.max(y - zoneGap, leadHeight);
  if (first) {
    cards.unshift({ node: first, lane: 'lead', x: narrow ? 0 : 0, y: narrow ? 0 : Math.round((height - leadHeight) / 2) });
  }

  const at = new Map(cards.map((c) => [c.node.name, c]));
  const edges: Edge[] = [];
  for (const link of links) {
    const from = at.get(link.from);
    const to = at.get(link.to);
    if (!from || !to || from === to) continue;
    edges.push({ link, ...(narrow ? elbow(from, to) : curve(from, to, cardWidth)) });
  }
  return { width, height, narrow, cardWidth, cards, edges, zones };
}

function curve(from: Placed, to: Placed, cardWidth: number): Pick<Edge, 'd' | 'mid'> {
  const x1 = from.x + cardWidth;
  const y1 = from.y + (from.lane === 'lead' ? leadHeight : cardHeight) / 2;
  const x2 = to.x;
  const y2 = to.y + cardHeight / 2;
  if (x2 <= x1) {
    // Between two cards of one column: out to the left and back.
    const out = to.x - 26;
    return { d: `M${from.x} ${y1}C${out} ${y1} ${out} ${y2} ${to.x} ${y2}`, mid: { x: out + 6, y: (y1 + y2) / 2 } };
  }
  const bend = (x2 - x1) * 0.5;
  // The label sits near the receiving end, where the lines are apart.
  const t = 0.66;
  return {
    d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`,
    mid: { x: bezier(t, x1, x1 + bend, x2 - bend, x2), y: bezier(t, y1, y1, y2, y2) },
  };
}

function elbow(from: Placed, to: Placed): Pick<Edge, 'd' | 'mid'> {
  const x = 18;
  const y1 = from.y + (from.lane === 'lead' ? leadHeight : cardHeight);
  const y2 = to.y + cardHeight / 2;
  return { d: `M${x} ${y1}V${y2 - 10}Q${x} ${y2} ${x + 10} ${y2}H${to.x}`, mid: { x: (x + to.x) / 2 + 6, y: y2 } };
}

function bezier(t: number, a: number, b: number, c: number, d: number): number {
  const s = 1 - t;
  return s * s * s * a + 3 * s * s * t * b + 3 * s * t * t * c + t * t * t * d;
}
