//! Draws a graph without cycles as a self-contained SVG: in layers, with few crossings, straight where it can be.
//! Pure; knows nothing of packages.
//!
//! The layers are columns: what needs others stands left of them. Edges that go to the same box and pass through a
//! column share one lane there, so that forty arrows to one box are a river with forty sources, not forty lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// One box.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// What it is called.
    pub label: String,
    /// A few more characters, in a smaller and weaker hand; may be empty.
    pub detail: String,
    /// Its colour: one of the classes of the legend.
    pub class: String,
    /// Shown when the pointer rests on it; may have several lines.
    pub title: String,
}

/// What is drawn.
#[derive(Debug, Clone, Default)]
pub struct Drawing {
    /// The heading.
    pub title: String,
    /// Boxes; each stands after all that it points to.
    pub nodes: Vec<Node>,
    /// For each box, the ones that it points to.
    pub edges: Vec<Vec<usize>>,
    /// Classes of boxes with their meaning: `good`, `todo`, `wait`, `bad`, or `heat0` (little) to `heat5` (much), `none`.
    pub legend: Vec<(String, String)>,
}

/// Leaves out every edge that follows from others: `a → c` where there is `a → b → c`. Each index stands after all that
/// it points to.
pub fn reduced(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut below: Vec<BTreeSet<usize>> = Vec::with_capacity(edges.len());
    let mut kept = Vec::with_capacity(edges.len());
    for targets in edges {
        let mut reached = BTreeSet::new();
        for &target in targets {
            reached.extend(below[target].iter().copied());
        }
        kept.push(targets.iter().copied().filter(|target| !reached.contains(target)).collect());
        reached.extend(targets);
        below.push(reached);
    }
    kept
}

/// Height of a box.
const HEIGHT: f64 = 22.0;
/// Height of a lane: edges on their way through a column.
const LANE: f64 = 4.0;
/// Least space between what stands in one column.
const GAP: f64 = 8.0;
/// Width of a character of the label and of the detail.
const CHARACTER: (f64, f64) = (7.25, 6.05);
/// Space around everything, and the heading's height.
const MARGIN: f64 = 20.0;
const HEAD: f64 = 64.0;
/// Rounds of looking for fewer crossings; more than these change little, even with hundreds of boxes.
const ROUNDS: usize = 24;

/// Something that stands in a column: a box, or a lane to one.
#[derive(Debug, Clone)]
struct Item {
    layer: usize,
    /// The box itself, or the one that the lane leads to.
    node: usize,
    lane: bool,
    /// Items of the next column that it is joined to, and of the one before.
    right: Vec<usize>,
    left: Vec<usize>,
    y: f64,
}

impl Item {
    fn height(&self) -> f64 {
        if self.lane { LANE } else { HEIGHT }
    }
}

/// Items, and for each column their order from top to bottom.
struct Layout {
    items: Vec<Item>,
    columns: Vec<Vec<usize>>,
}

impl Layout {
    fn new(edges: &[Vec<usize>]) -> Layout {
        let mut layer = vec![0; edges.len()];
        for from in (0..edges.len()).rev() {
            for &to in &edges[from] {
                layer[to] = layer[to].max(layer[from] + 1);
            }
        }
        let mut items: Vec<Item> = (0..edges.len())
            .map(|node| Item {
                layer: layer[node],
                node,
                lane: false,
                right: Vec::new(),
                left: Vec::new(),
                y: 0.0,
            })
            .collect();
        let mut lanes: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for from in 0..edges.len() {
            for &to in &edges[from] {
                let mut at = from;
                for layer in layer[from] + 1..=layer[to] {
                    let next = if layer == items[to].layer {
                        to
                    } else {
                        *lanes.entry((to, layer)).or_insert_with(|| {
                            items.push(Item {
                                layer,
                                node: to,
                                lane: true,
                                right: Vec::new(),
                                left: Vec::new(),
                                y: 0.0,
                            });
                            items.len() - 1
                        })
                    };
                    if !items[at].right.contains(&next) {
                        items[at].right.push(next);
                        items[next].left.push(at);
                    }
                    at = next;
                }
            }
        }
        let mut columns = vec![Vec::new(); layer.iter().max().map_or(0, |last| last + 1)];
        for (index, item) in items.iter().enumerate() {
            columns[item.layer].push(index);
        }
        let mut layout = Layout { items, columns };
        layout.order();
        layout.place();
        layout
    }

    fn neighbours(&self, item: usize, right: bool) -> &[usize] {
        if right { &self.items[item].right } else { &self.items[item].left }
    }

    /// Each item's place in its column.
    fn places(&self) -> Vec<usize> {
        let mut places = vec![0; self.items.len()];
        for column in &self.columns {
            for (place, &item) in column.iter().enumerate() {
                places[item] = place;
            }
        }
        places
    }

    /// Pairs of edges that cross between a column and the next.
    fn crossings(&self) -> usize {
        let places = self.places();
        let mut sum = 0;
        for (at, column) in self.columns.iter().enumerate() {
            let size = self.columns.get(at + 1).map_or(0, Vec::len);
            // A Fenwick tree over the next column: how many edges seen so far end at or above a place.
            let mut tree = vec![0_usize; size + 1];
            let mut seen = 0;
            for &item in column {
                let mut ends: Vec<usize> = self.items[item].right.iter().map(|&next| places[next]).collect();
                ends.sort_unstable();
                for &end in &ends {
                    let (mut above, mut i) = (0, end + 1);
                    while i > 0 {
                        above += tree[i];
                        i &= i - 1;
                    }
                    sum += seen - above;
                }
                for end in ends {
                    seen += 1;
                    let mut i = end + 1;
                    while i <= size {
                        tree[i] += 1;
                        i += i & i.wrapping_neg();
                    }
                }
            }
        }
        sum
    }

    /// Orders each column by where its neighbours stand, back and forth, and keeps the best that comes up.
    fn order(&mut self) {
        let mut best = (self.crossings(), self.columns.clone());
        for round in 0..ROUNDS {
            let right = round % 2 == 1;
            let last = self.columns.len();
            let order: Vec<usize> = if right { (0..last).rev().collect() } else { (0..last).collect() };
            for at in order {
                let places = self.places();
                let centre = |item: usize| {
                    let near = self.neighbours(item, right);
                    let sum: usize = near.iter().map(|&other| places[other]).sum();
                    if near.is_empty() { places[item] as f64 } else { sum as f64 / near.len() as f64 }
                };
                let mut column: Vec<(f64, usize, usize)> =
                    self.columns[at].iter().map(|&item| (centre(item), places[item], item)).collect();
                // Items of equal standing change sides every other time, or the search would stay where it began.
                let flip = round % 4 >= 2;
                column.sort_by(|a, b| {
                    a.0.total_cmp(&b.0).then(if flip { b.1.cmp(&a.1) } else { a.1.cmp(&b.1) })
                });
                self.columns[at] = column.into_iter().map(|(_, _, item)| item).collect();
            }
            self.swap_neighbours();
            let now = self.crossings();
            if now < best.0 {
                best = (now, self.columns.clone());
            }
        }
        self.columns = best.1;
    }

    /// Swaps items that stand one above the other wherever that saves crossings.
    fn swap_neighbours(&mut self) {
        let mut places = self.places();
        for at in 0..self.columns.len() {
            let mut better = true;
            let mut rounds = 0;
            while better && rounds < 8 {
                (better, rounds) = (false, rounds + 1);
                for i in 1..self.columns[at].len() {
                    let (a, b) = (self.columns[at][i - 1], self.columns[at][i]);
                    let cost = |above: usize, below: usize| -> usize {
                        [false, true]
                            .iter()
                            .map(|&right| {
                                let below = self.neighbours(below, right);
                                let crossed =
                                    |&x: &usize| below.iter().filter(|&&y| places[y] < places[x]).count();
                                self.neighbours(above, right).iter().map(crossed).sum::<usize>()
                            })
                            .sum()
                    };
                    if cost(b, a) < cost(a, b) {
                        self.columns[at].swap(i - 1, i);
                        (places[a], places[b]) = (i, i - 1);
                        better = true;
                    }
                }
            }
        }
    }

    /// Gives every item a height on the page: near its neighbours, lanes straight, nothing overlapping.
    fn place(&mut self) {
        for column in &self.columns {
            let mut y = 0.0;
            for &item in column {
                let height = self.items[item].height();
                self.items[item].y = y + height / 2.0;
                y += height + GAP;
            }
        }
        for round in 0..40 {
            let last = self.columns.len();
            let order: Vec<usize> =
                if round % 2 == 1 { (0..last).rev().collect() } else { (0..last).collect() };
            for at in order {
                let wanted: Vec<(f64, f64)> =
                    self.columns[at].iter().map(|&item| self.wanted(item)).collect();
                let apart: Vec<f64> = self.columns[at]
                    .windows(2)
                    .map(|pair| (self.items[pair[0]].height() + self.items[pair[1]].height()) / 2.0 + GAP)
                    .collect();
                for (&item, y) in self.columns[at].clone().iter().zip(spread(&wanted, &apart)) {
                    self.items[item].y = y;
                }
            }
        }
        let top = self.items.iter().map(|item| item.y - item.height() / 2.0).fold(f64::INFINITY, f64::min);
        for item in &mut self.items {
            item.y -= top;
        }
    }

    /// Where an item would like to be, and how much.
    fn wanted(&self, item: usize) -> (f64, f64) {
        let this = &self.items[item];
        let (mut sum, mut weight) = (0.0, 0.0);
        for &other in this.left.iter().chain(&this.right) {
            let pull = match (this.lane, self.items[other].lane) {
                (true, true) => 8.0,
                (false, false) => 1.0,
                _ => 2.0,
            };
            sum += self.items[other].y * pull;
            weight += pull;
        }
        if weight == 0.0 { (this.y, 0.1) } else { (sum / weight, weight) }
    }
}

/// Places in a row that are as near as can be to the wanted ones (least squares, by weight) and at least so far apart.
fn spread(wanted: &[(f64, f64)], apart: &[f64]) -> Vec<f64> {
    // With the distances taken off, the places only have to rise: isotonic regression, by merging what would fall.
    let mut offset = 0.0;
    let mut offsets = Vec::with_capacity(wanted.len());
    let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
    for (i, &(place, weight)) in wanted.iter().enumerate() {
        if i > 0 {
            offset += apart[i - 1];
        }
        offsets.push(offset);
        let mut block = (place - offset, weight, 1);
        while let Some(&(mean, heavy, count)) = blocks.last() {
            if mean < block.0 {
                break;
            }
            let sum = heavy + block.1;
            block = ((mean * heavy + block.0 * block.1) / sum, sum, count + block.2);
            blocks.pop();
        }
        blocks.push(block);
    }
    let means = blocks.iter().flat_map(|&(mean, _, count)| std::iter::repeat_n(mean, count));
    means.zip(offsets).map(|(mean, offset)| mean + offset).collect()
}

const STYLE: &str = "\
svg { color-scheme: light dark; --back: #fff; --text: #1c2024; --dim: #60666d; --edge: #8d969f; --rim: #0003;
  --good: #bfe3c5; --todo: #f6d889; --wait: #c4dcf7; --bad: #f4aaa3; --none: #e8ebee;
  --heat0: #e6f0fa; --heat1: #fbeec2; --heat2: #f9d892; --heat3: #f5b56a; --heat4: #ea8a5a; --heat5: #d9604f; }
@media (prefers-color-scheme: dark) { svg { --back: #16191c; --text: #e9ebed; --dim: #a0a8b0; --edge: #727b84; --rim: #fff3;
  --good: #2b5d37; --todo: #77601a; --wait: #2c5078; --bad: #8f3932; --none: #30363c;
  --heat0: #22374d; --heat1: #4d4726; --heat2: #6b5620; --heat3: #855322; --heat4: #934527; --heat5: #a1332b; } }
.back { fill: var(--back); } text { font: 12px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; fill: var(--text); }
.title { font: 600 16px system-ui, sans-serif; } .key { font: 12px system-ui, sans-serif; } .detail { font-size: 10px; opacity: .75; }
rect.box { stroke: var(--rim); } path { fill: none; stroke: var(--edge); } #arrow path { fill: var(--edge); stroke: none; }
.good { fill: var(--good); } .todo { fill: var(--todo); } .wait { fill: var(--wait); } .bad { fill: var(--bad); } .none { fill: var(--none); }
.heat0 { fill: var(--heat0); } .heat1 { fill: var(--heat1); } .heat2 { fill: var(--heat2); } .heat3 { fill: var(--heat3); }
.heat4 { fill: var(--heat4); } .heat5 { fill: var(--heat5); }
.look g, .look path.edge { opacity: .14; } .look g.on, .look path.on { opacity: 1; } .look path.on { stroke: var(--text); }";

/// Shows, while the pointer is on a box, all that it needs and all that needs it. Without scripts the picture is the same.
const SCRIPT: &str = "\
const svg = document.currentScript.ownerSVGElement, all = name => [...svg.querySelectorAll(name)];
const boxes = all('g[data-n]'), lines = all('path.edge'), words = (e, name) => (e.dataset[name] || '').split(' ');
const next = boxes.map(g => words(g, 'to').filter(Boolean)), before = boxes.map(() => []);
next.forEach((list, n) => list.forEach(m => before[m].push(String(n))));
const reach = (n, step, seen = new Set([n])) => { for (const m of seen) for (const k of step[m]) seen.add(k); return seen; };
boxes.forEach(g => {
  g.addEventListener('mouseenter', () => {
    const down = reach(g.dataset.n, next), up = reach(g.dataset.n, before);
    svg.classList.add('look');
    boxes.forEach(b => b.classList.toggle('on', down.has(b.dataset.n) || up.has(b.dataset.n)));
    lines.forEach(l => l.classList.toggle('on', words(l, 'from').some(n =>
      (down.has(n) && down.has(l.dataset.to)) || (up.has(n) && up.has(l.dataset.to)))));
  });
  g.addEventListener('mouseleave', () => svg.classList.remove('look'));
});";

/// The whole picture. It needs nothing from outside and follows the reader's light or dark setting.
pub fn svg(drawing: &Drawing) -> String {
    let layout = Layout::new(&drawing.edges);
    let width_of = |node: &Node| {
        let detail = if node.detail.is_empty() {
            0.0
        } else {
            node.detail.chars().count() as f64 * CHARACTER.1 + 10.0
        };
        node.label.chars().count() as f64 * CHARACTER.0 + detail + 16.0
    };
    let mut columns = Vec::new();
    let mut x = MARGIN;
    for column in &layout.columns {
        let boxes = column.iter().map(|&item| &layout.items[item]).filter(|item| !item.lane);
        let width = boxes.map(|item| width_of(&drawing.nodes[item.node])).fold(0.0, f64::max);
        columns.push((x, width));
        let lines: usize = column.iter().map(|&item| layout.items[item].right.len()).sum();
        x += width + (44.0 + lines as f64 * 1.5).min(120.0);
    }
    let right = columns.last().map_or(MARGIN, |(x, width)| x + width);
    let legend: f64 = drawing.legend.iter().map(|(_, text)| text.chars().count() as f64 * 6.6 + 40.0).sum();
    let width = right.max(MARGIN + legend).max(MARGIN + drawing.title.chars().count() as f64 * 9.5) + MARGIN;
    let bottom = layout.items.iter().map(|item| item.y + item.height() / 2.0).fold(0.0, f64::max);
    let height = HEAD + MARGIN + bottom + MARGIN;

    let mut out = String::new();
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" \
         role=\"img\">\n<title>{title}</title>\n<style>\n{STYLE}\n</style>\n<defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"8\" \
         refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path d=\"M0 0.5 L8 4 L0 7.5 z\"/>\
         </marker></defs>\n<rect class=\"back\" width=\"100%\" height=\"100%\"/>\n<text class=\"title\" x=\"{MARGIN}\" y=\"32\">{title}</text>\n",
        title = escape(&drawing.title),
    );
    let mut x = MARGIN;
    for (class, text) in &drawing.legend {
        let _ = writeln!(
            out,
            "<rect class=\"box {class}\" x=\"{x}\" y=\"46\" width=\"14\" height=\"14\" rx=\"3\"/><text class=\"key\" x=\"{:.1}\" y=\"57\">{}</text>",
            x + 20.0,
            escape(text)
        );
        x += text.chars().count() as f64 * 6.6 + 40.0;
    }
    let top = HEAD + MARGIN;
    let mut users = vec![0; drawing.nodes.len()];
    for &to in drawing.edges.iter().flatten() {
        users[to] += 1;
    }
    for (from, to, sources) in segments(&layout) {
        let (a, b) = (&layout.items[from], &layout.items[to]);
        let ((ax, aw), (bx, bw)) = (columns[a.layer], columns[b.layer]);
        let (x0, y0, x1, y1) = (ax + aw, top + a.y, bx, top + b.y);
        let middle = (x0 + x1) / 2.0;
        let through = if b.lane { format!(" H{:.1}", bx + bw) } else { String::new() };
        let arrow = if b.lane { "" } else { " marker-end=\"url(#arrow)\"" };
        let from: Vec<String> = sources.iter().map(usize::to_string).collect();
        // Rivers have a hue each, by which the eye follows them through a crossing; neighbours in the order differ most
        // by the golden angle.
        let hue = match users[b.node] {
            0..3 => String::new(),
            _ => format!(" style=\"stroke:hsl({:.0} 42% 54%)\"", (b.node as f64 * 137.508) % 360.0),
        };
        let _ = writeln!(
            out,
            "<path class=\"edge\"{hue} data-from=\"{}\" data-to=\"{}\" stroke-width=\"{:.1}\" \
             d=\"M{x0:.1} {y0:.1} C{middle:.1} {y0:.1} {middle:.1} {y1:.1} {x1:.1} {y1:.1}{through}\"{arrow}/>",
            from.join(" "),
            b.node,
            1.0 + (sources.len() as f64).log2() * 0.3,
        );
    }
    for (index, node) in drawing.nodes.iter().enumerate() {
        let item = &layout.items[index];
        let (x, width) = columns[item.layer];
        let y = top + item.y;
        let to: Vec<String> = drawing.edges[index].iter().map(usize::to_string).collect();
        let _ = write!(
            out,
            "<g data-n=\"{index}\" data-to=\"{}\"><title>{}</title><rect class=\"box {}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" \
             height=\"{HEIGHT}\" rx=\"4\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            to.join(" "),
            escape(&node.title),
            node.class,
            y - HEIGHT / 2.0,
            x + 8.0,
            y + 4.0,
            escape(&node.label),
        );
        if !node.detail.is_empty() {
            let _ = write!(
                out,
                "<text class=\"detail\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                x + width - 8.0,
                y + 3.5,
                escape(&node.detail)
            );
        }
        out.push_str("</g>\n");
    }
    let _ = writeln!(out, "<script>\n<![CDATA[\n{SCRIPT}\n]]>\n</script>\n</svg>");
    out
}

/// Lines to draw, each once, with the boxes whose edges run over it.
fn segments(layout: &Layout) -> Vec<(usize, usize, BTreeSet<usize>)> {
    let mut through: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); layout.items.len()];
    let mut found = Vec::new();
    for column in &layout.columns {
        for &from in column {
            let item = &layout.items[from];
            let sources = if item.lane { through[from].clone() } else { BTreeSet::from([item.node]) };
            for &to in &item.right {
                if layout.items[to].lane {
                    through[to].extend(&sources);
                }
                found.push((from, to, sources.clone()));
            }
        }
    }
    found
}

/// Text as XML wants it; control characters are left out.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() && c != '\n' => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_that_follow_from_others_are_left_out() {
        // 3 → 2 → 1 → 0, with every short cut.
        assert_eq!(
            reduced(&[vec![], vec![0], vec![0, 1], vec![0, 1, 2]]),
            [vec![], vec![0], vec![1], vec![2]]
        );
        // A diamond has none to spare.
        assert_eq!(reduced(&[vec![], vec![0], vec![0], vec![1, 2]]), [vec![], vec![0], vec![0], vec![1, 2]]);
    }

    #[test]
    fn places_keep_their_distance_and_are_near_what_was_wanted() {
        assert_eq!(spread(&[(0.0, 1.0), (0.0, 1.0)], &[10.0]), [-5.0, 5.0]);
        assert_eq!(spread(&[(0.0, 1.0), (50.0, 1.0)], &[10.0]), [0.0, 50.0]);
        assert_eq!(spread(&[(0.0, 3.0), (0.0, 1.0)], &[8.0]), [-2.0, 6.0]);
    }

    #[test]
    fn crossings_that_need_not_be_are_gone() {
        // Three on three, joined crosswise; and arrows to one box from two columns away share a lane.
        let layout = Layout::new(&[vec![], vec![], vec![], vec![2], vec![1], vec![0]]);
        assert_eq!(layout.crossings(), 0);
        let layout = Layout::new(&[vec![], vec![0], vec![1], vec![2, 0], vec![2, 0], vec![2, 0]]);
        assert_eq!(layout.items.iter().filter(|item| item.lane).count(), 2);
    }

    #[test]
    fn nothing_overlaps_in_a_column() {
        let edges: Vec<Vec<usize>> =
            (0..60).map(|i| (0..i).filter(|j| (i * 7 + j * 13) % 11 == 0).collect()).collect();
        let layout = Layout::new(&reduced(&edges));
        for column in &layout.columns {
            for pair in column.windows(2) {
                let (a, b) = (&layout.items[pair[0]], &layout.items[pair[1]]);
                assert!(b.y - a.y >= (a.height() + b.height()) / 2.0 + GAP - 0.001);
            }
        }
    }

    #[test]
    fn an_empty_graph_and_odd_names_make_a_sound_picture() {
        assert!(svg(&Drawing::default()).ends_with("</svg>\n"));
        let node = Node { label: "a<b>&\"c\u{1b}".into(), class: "good".into(), ..Node::default() };
        let text = svg(&Drawing { nodes: vec![node], edges: vec![vec![]], ..Drawing::default() });
        assert!(text.contains("a&lt;b&gt;&amp;&quot;c<"), "{text}");
    }
}
