#include <algorithm>
#include <array>
#include <vector>

#include "cli/draw.h"

namespace headscope::cli {

namespace {
constexpr double kFaintArc = 0.1;
constexpr int kMargin = 2;
constexpr int kLabel = 7;  // Columns an arc needs to carry its weight.

// Sides of a character cell that a line leaves by.
constexpr unsigned kUp = 1, kDown = 2, kLeft = 4, kRight = 8;

struct Arc {
  int from = 0;  ///< column
  int to = 0;
  int level = 0;
  double weight = 0.0;
  [[nodiscard]] int begin() const { return std::min(from, to); }
  [[nodiscard]] int end() const { return std::max(from, to); }
};

struct Place {
  int begin = 0;
  int width = 0;
  // Lines to the right leave right of the middle and arrive left of it, so that they do not meet.
  [[nodiscard]] int left() const { return begin + std::max((width - 1) / 2, 0); }
  [[nodiscard]] int right() const { return begin + std::max((width - 1) / 2, 0) + 1; }
};

// Strips of text that lines and labels are drawn on.
class Canvas {
 public:
  Canvas(int rows, int width)
      : width_(width),
        sides_(static_cast<std::size_t>(rows) * static_cast<std::size_t>(width), 0U),
        over_(sides_.size()) {}
  void add(int row, int column, unsigned sides) { sides_[at(row, column)] |= sides; }
  void put(int row, int column, std::string_view character) { over_[at(row, column)] = character; }
  [[nodiscard]] bool plain(int row, int column) const {
    return sides_[at(row, column)] == (kLeft | kRight) && over_[at(row, column)].empty();
  }
  [[nodiscard]] std::string line(int row) const {
    // Index: up 1, down 2, left 4, right 8; ends are drawn round.
    static constexpr std::array<std::string_view, 16> kLines = {
        " ", "╵", "╷", "│", "╴", "╯", "╮", "┤", "╶", "╰", "╭", "├", "─", "┴", "┬", "┼"};
    std::string out;
    for (int c = 0; c < width_; ++c) {
      const std::size_t i = at(row, c);
      out += over_[i].empty() ? kLines[sides_[i]] : over_[i];
    }
    out.erase(out.find_last_not_of(' ') + 1);
    return out;
  }

 private:
  [[nodiscard]] std::size_t at(int row, int column) const {
    return static_cast<std::size_t>(row) * static_cast<std::size_t>(width_) +
           static_cast<std::size_t>(column);
  }
  int width_;
  std::vector<unsigned> sides_;
  std::vector<std::string> over_;
};

// Short arcs lie inside long ones; arcs on one level do not touch. Returns the number of levels.
int assign_levels(std::vector<Arc>& arcs) {
  std::stable_sort(arcs.begin(), arcs.end(), [](const Arc& a, const Arc& b) {
    return a.end() - a.begin() < b.end() - b.begin();
  });
  int levels = 0;
  for (std::size_t i = 0; i < arcs.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const bool apart = arcs[j].end() < arcs[i].begin() || arcs[i].end() < arcs[j].begin();
      if (!apart) arcs[i].level = std::max(arcs[i].level, arcs[j].level + 1);
    }
    levels = std::max(levels, arcs[i].level + 1);
  }
  return levels;
}

// Row 0 of the canvas touches the words; `up` tells which way it grows.
void draw(const std::vector<Arc>& arcs, bool above, int levels, Canvas& canvas) {
  const unsigned toward = above ? kDown : kUp;
  const unsigned away = above ? kUp : kDown;
  const auto row_of = [&](int level) { return above ? levels - 1 - level : level + 1; };
  for (const Arc& arc : arcs) {
    const int row = row_of(arc.level);
    canvas.add(row, arc.begin(), kRight | toward);
    canvas.add(row, arc.end(), kLeft | toward);
    for (int c = arc.begin() + 1; c < arc.end(); ++c) canvas.add(row, c, kLeft | kRight);
    for (const int column : {arc.from, arc.to}) {
      for (int level = arc.level - 1; level >= -1; --level) {
        canvas.add(row_of(level), column, toward | away);
      }
    }
  }
  for (const Arc& arc : arcs) canvas.put(row_of(-1), arc.to, above ? "▼" : "▲");
  for (const Arc& arc : arcs) {
    const int row = row_of(arc.level);
    const int middle = arc.begin() + (arc.end() - arc.begin()) / 2 - 1;
    bool room = arc.end() - arc.begin() >= kLabel;
    for (int c = middle - 1; c <= middle + 3 && room; ++c) room = canvas.plain(row, c);
    if (!room) continue;
    const std::string label = share(arc.weight);
    for (int c = 0; c < 3; ++c)
      canvas.put(row, middle + c, label.substr(static_cast<std::size_t>(c), 1));
  }
}

std::string half(const std::vector<Arc>& arcs, bool above, int width) {
  if (arcs.empty()) return "";
  std::vector<Arc> placed = arcs;
  const int levels = assign_levels(placed);
  Canvas canvas(levels + 1, width);
  draw(placed, above, levels, canvas);
  std::string out;
  for (int row = 0; row <= levels; ++row) out += canvas.line(row) + '\n';
  return out;
}
}  // namespace

std::string arcs(const Screen& screen, const Links& links, HeadId head) {
  std::vector<Place> places;
  std::string sentence = spaces(kMargin);
  int column = kMargin;
  for (const auto& word : links.words()) {
    const std::string shown = clean(word.text);
    const int width = std::max(columns(shown), 2);
    places.push_back({column, width});
    sentence += left(shown, width) + spaces(2);
    column += width + 2;
  }
  const auto remark = [&](Word word) {
    return "  " + paint(screen, Paint::kDim, wrap(say(screen.lang, word), screen.width, 2)) + '\n';
  };
  if (column - 2 > screen.width) return remark(Word::kTooWideForArcs);
  std::vector<Arc> above;
  std::vector<Arc> below;
  std::vector<bool> taken(places.size());
  for (const Link& link : links.of(head)) {
    if (link.to == link.from || link.weight < kFaintArc || taken[link.from]) continue;
    taken[link.from] = true;
    const bool onward = link.to > link.from;
    const Place& from = places[link.from];
    const Place& to = places[link.to];
    if (onward) {
      above.push_back({from.right(), to.left(), 0, link.weight});
    } else {
      below.push_back({from.left(), to.right(), 0, link.weight});
    }
  }
  if (above.empty() && below.empty()) return remark(Word::kNoArcs);
  sentence.erase(sentence.find_last_not_of(' ') + 1);
  return half(above, true, screen.width) + paint(screen, Paint::kTitle, sentence) + '\n' +
         half(below, false, screen.width) + remark(Word::kArcLegend);
}

}  // namespace headscope::cli
