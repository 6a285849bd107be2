#include <algorithm>
#include <cmath>

#include "cli/see_parts.h"

namespace headscope::cli {

namespace {
constexpr int kBar = 6;
constexpr int kLinkCell = 39;

// A way to rank heads by one number.
struct Measure {
  std::string name;
  double (*value)(const Summary&);
  std::int64_t rows;
};

std::string measure_line(const Screen& screen,
                         const Measure& measure,
                         const std::vector<int>& layers,
                         const std::vector<std::vector<Summary>>& summaries,
                         double scale,
                         int label) {
  std::vector<std::pair<double, HeadId>> ranked;
  for (const int l : layers) {
    const auto& heads = summaries[static_cast<std::size_t>(l)];
    for (std::size_t h = 0; h < heads.size(); ++h) {
      ranked.push_back({measure.value(heads[h]) * scale, {l, static_cast<int>(h)}});
    }
  }
  std::stable_sort(
      ranked.begin(), ranked.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::string line = "  " + left(measure.name, label);
  const int room = screen.width - 8 - columns(line);
  const int cell = 6 + kBar + 1 + 3 + 1;
  const auto fit = static_cast<std::size_t>(std::clamp(room / cell, 1, 5));
  for (std::size_t i = 0; i < std::min(fit, ranked.size()); ++i) {
    const auto& [value, id] = ranked[i];
    line += ' ' + left(id.name(), 5) + bar(value, kBar) + ' ' + share(value) + ' ';
  }
  return line + right(say(screen.lang, Word::kRows, measure.rows), 6) + '\n';
}

// The strongest link of the row that --row asks for, of each head, the strongest first.
std::vector<Link> of_every_head(const Seen& seen, const Links& links, std::size_t n) {
  std::vector<Link> out;
  for (const int layer : shown_layers(seen)) {
    for (const int h : seen.sighting->layers[static_cast<std::size_t>(layer)].heads) {
      for (const Link& link : links.of_row(*seen.sighting, {layer, h}, *seen.row, 1))
        out.push_back(link);
    }
  }
  std::stable_sort(
      out.begin(), out.end(), [](const Link& a, const Link& b) { return a.weight > b.weight; });
  if (out.size() > n) out.resize(n);
  return out;
}

std::string surprising(const Screen& screen, const Seen& seen, const Links& links) {
  const std::size_t n = seen.links > 0 ? seen.links : 8;
  const bool of_row = seen.row && !links.of_text();
  const auto found = of_row ? of_every_head(seen, links, n) : links.surprising(n, seen.layer);
  if (found.empty()) return "";
  const Word heading = of_row ? Word::kSceneLinks : Word::kSurprising;
  std::string out = '\n' + title(screen, "  " + say(screen.lang, heading));
  std::vector<std::string> cells;
  int cell = kLinkCell;
  for (const Link& link : found) {
    cells.push_back(left(link.head.name(), 5) + show_link(links, link));
    cell = std::max(cell, columns(cells.back()) + 2);
  }
  const auto across = static_cast<std::size_t>(std::max((screen.width - 2) / cell, 1));
  std::string line;
  for (std::size_t i = 0; i < found.size(); ++i) {
    line += left(cells[i], cell);
    if ((i + 1) % across == 0 || i + 1 == found.size()) {
      out += "  " + trimmed(line) + '\n';
      line.clear();
    }
  }
  return out;
}

}  // namespace

std::string show_link(const Links& links, const Link& link, int most) {
  constexpr int kOfText = 12, kOther = 32;  // short labels are cut only where nothing else helps
  if (most <= 0) most = links.of_text() ? kOfText : kOther;
  return clip(links.name(link.from), most) + "→" + clip(links.name(link.to), most) + ' ' +
         share(link.weight);
}

std::string show_links(const Links& links,
                       std::span<const Link> which,
                       int room,
                       std::size_t most) {
  std::string out;
  int used = 0;
  std::size_t shown = 0;
  for (const Link& link : which) {
    std::string next = show_link(links, link);
    if (out.empty() && columns(next) > room)  // cut rather than nothing: "a→b .98"
      next = show_link(links, link, std::max((room - 5) / 2, 1));
    const int n = columns(next) + (out.empty() ? 0 : 2);
    if (used + n > room || (most > 0 && shown == most)) break;
    out += (out.empty() ? "" : "  ") + next;
    used += n;
    ++shown;
  }
  return out;
}

std::string links_beside(const Screen& screen,
                         const Links& links,
                         std::span<const Link> which,
                         int room,
                         std::size_t most) {
  if (which.empty() || links.of_text() || columns(show_link(links, which.front())) <= room)
    return show_links(links, which, room, most);
  constexpr int kIndent = 10;
  return '\n' + spaces(kIndent) + show_links(links, which, screen.width - kIndent, most);
}

std::vector<Link> links_shown(
    const Seen& seen, const Links& links, HeadId head, std::size_t n, bool any) {
  if (seen.row && !links.of_text()) return links.of_row(*seen.sighting, head, *seen.row, n);
  return any ? links.strongest(head, n) : links.between_words(head, n);
}

std::string foretells_note(const Screen& screen, const Seen& seen) {
  const Sighting& sighting = *seen.sighting;
  const std::vector<int> layers = shown_layers(seen);
  const bool notes = sighting.scene.kind == Scene::Kind::kNotes;
  if (layers.empty() || (!notes && sighting.scene.kind != Scene::Kind::kTable)) return "";
  if (!sighting.layers[static_cast<std::size_t>(layers.front())].options.causal) return "";
  return note(screen, say(screen.lang, notes ? Word::kNoteForetells : Word::kCellForetells));
}

std::string title(const Screen& screen, const std::string& words) {
  return paint(screen, Paint::kTitle, words) + '\n';
}

std::string dim(const Screen& screen, const std::string& words) {
  return paint(screen, Paint::kDim, words) + '\n';
}

std::string note(const Screen& screen, const std::string& words) {
  return "  " + dim(screen, wrap(words, screen.width, 2));
}

std::vector<int> shown_layers(const Seen& seen) {
  if (seen.layer) return {*seen.layer};
  std::vector<int> out;
  for (std::size_t l = 0; l < seen.sighting->layers.size(); ++l) {
    if (!seen.sighting->layers[l].heads.empty()) out.push_back(static_cast<int>(l));
  }
  return out;
}

std::string render_measured(const Screen& screen,
                            const Seen& seen,
                            const Links& links,
                            const std::vector<std::vector<Summary>>& summaries) {
  const auto tokens = static_cast<std::int64_t>(seen.sighting->labels.size());
  const auto layers = shown_layers(seen);
  const double even = tokens > 1 ? 1.0 / std::log(static_cast<double>(tokens)) : 0.0;
  const auto& edge = seen.sighting->labels;
  const auto edge_name = [&](Word plain, Word special, const Label& label) {
    return label.special ? say(screen.lang, special, clip(clean(label.text), 8))
                         : say(screen.lang, plain);
  };
  const std::int64_t same =
      layers.empty() ? 0 : summaries[static_cast<std::size_t>(layers.front())].front().same_rows;
  const bool of_text = links.of_text();
  const auto fit = [&](Word of_a_text, Word other) {
    return say(screen.lang, of_text ? of_a_text : other);
  };
  std::vector<Measure> measures = {
      {fit(Word::kPrevious, Word::kPreviousInput),
       [](const Summary& s) { return s.previous_mass; },
       tokens - 1},
      {fit(Word::kNextToken, Word::kNextInput),
       [](const Summary& s) { return s.next_mass; },
       tokens - 1},
      {say(screen.lang, Word::kItself), [](const Summary& s) { return s.self_mass; }, tokens},
      {edge_name(of_text ? Word::kFirst : Word::kFirstInput, Word::kFirstSpecial, edge.front()),
       [](const Summary& s) { return s.first_mass; },
       tokens - 1},
      {edge_name(of_text ? Word::kLast : Word::kLastInput, Word::kLastSpecial, edge.back()),
       [](const Summary& s) { return s.last_mass; },
       tokens},
  };
  if (same > 0) {
    measures.push_back({fit(Word::kSameWord, Word::kSameInput),
                        [](const Summary& s) { return s.same_mass; },
                        same});
  }
  const Measure broad = {
      say(screen.lang, Word::kBroad), [](const Summary& s) { return s.entropy; }, tokens};
  int label = columns(broad.name);
  for (const Measure& m : measures) label = std::max(label, columns(m.name));
  std::string out =
      '\n' + title(screen, "  " + fit(Word::kMeasuredTitle, Word::kMeasuredTitleInput));
  out += note(screen, fit(Word::kMeasuredNote, Word::kMeasuredNoteInput));
  for (const Measure& m : measures) out += measure_line(screen, m, layers, summaries, 1.0, label);
  out += measure_line(screen, broad, layers, summaries, even, label);
  out += note(screen, say(screen.lang, Word::kBroadNote));
  const std::string links_of_all = surprising(screen, seen, links);
  return out + links_of_all + (links_of_all.empty() ? "" : foretells_note(screen, seen));
}

std::string render_table(const Screen& screen,
                         const Seen& seen,
                         const Links& links,
                         const std::vector<std::vector<Summary>>& summaries) {
  const std::string head_line = "  " + left(say(screen.lang, Word::kColumnHead), 6) +
                                right(say(screen.lang, Word::kColumnEntropy), 8) +
                                right(say(screen.lang, Word::kColumnDistance), 9) +
                                right(say(screen.lang, Word::kColumnFirst), 7) +
                                right(say(screen.lang, Word::kColumnSelf), 6) +
                                right(say(screen.lang, Word::kColumnPrevious), 6) + "  ";
  const int room = screen.width - columns(head_line);
  std::string out = '\n' + title(screen, "  " + say(screen.lang, Word::kEveryHead));
  out += note(screen, say(screen.lang, Word::kEveryHeadNote));
  const Word strongest = links.of_text() ? Word::kBetweenWords : Word::kStrongestLinks;
  out += dim(screen, head_line + clip(say(screen.lang, strongest), room));
  for (const int l : shown_layers(seen)) {
    for (const int h : seen.sighting->layers[static_cast<std::size_t>(l)].heads) {
      const HeadId id{l, h};
      const Summary& s = summaries[static_cast<std::size_t>(l)][static_cast<std::size_t>(h)];
      out += "  " + left(id.name(), 6) + right(fmt::format("{:.2f}", s.entropy), 8) +
             right(fmt::format("{:.1f}", s.distance_mean), 9) + right(share(s.first_mass), 7) +
             right(share(s.self_mass), 6) + right(share(s.previous_mass), 6) + "  " +
             links_beside(screen, links, links_shown(seen, links, id, 8, false), room, seen.links) +
             '\n';
    }
  }
  return out;
}

}  // namespace headscope::cli
