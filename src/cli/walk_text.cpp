#include <algorithm>
#include <cmath>
#include <numeric>

#include "cli/json_writer.h"
#include "cli/walk.h"

namespace headscope::cli {

namespace {
constexpr int kLabel = 10;
constexpr int kIndent = 4;
constexpr std::size_t kMostKeys = 24;
constexpr int kBar = 20;

std::string shape(std::initializer_list<std::int64_t> sizes) {
  return to_string(std::span<const std::int64_t>(sizes.begin(), sizes.size()));
}

double length(std::span<const float> x) {
  double sum = 0.0;
  for (const float a : x) sum += static_cast<double>(a) * static_cast<double>(a);
  return std::sqrt(sum);
}

// One card under construction.
class Card {
 public:
  Card(const Screen& screen, int number, Word name, Word words) : screen_(screen) {
    out_ = '\n' +
           paint(screen, Paint::kTitle, fmt::format("{} {}", number, text(screen.lang, name))) +
           "   " + say(screen.lang, words) + '\n';
  }
  void line(const std::string& label, const std::string& words) {
    const int indent = kIndent + kLabel;
    out_ += spaces(kIndent) + paint(screen_, Paint::kDim, left(label, kLabel)) +
            wrap(words, screen_.width, indent) + '\n';
  }
  // Formula, shapes and flops share one line when they fit, else they take two.
  void facts(const std::string& formula, const std::string& shapes, const std::string& flops) {
    line("", formula);
    const std::string both = shapes + "   " + flops;
    if (columns(both) + kIndent + kLabel <= screen_.width) {
      line("", both);
    } else {
      line("", shapes);
      line("", flops);
    }
  }
  void row(const std::string& label, std::span<const float> numbers) {
    line(label, figures(numbers, screen_.width - kIndent - kLabel));
  }
  void raw(const std::string& words) { out_ += words; }
  [[nodiscard]] const std::string& text_of() const { return out_; }

 private:
  Screen screen_;
  std::string out_;
};

std::string flops(const Screen& screen, std::int64_t n) {
  return say(screen.lang, Word::kFlop, large(n));
}

std::string project_card(const Screen& screen, const Walked& w) {
  const auto tokens = static_cast<std::int64_t>(w.labels.size());
  const std::int64_t outputs = (w.heads + w.groups) * w.width + w.groups * w.value_width;
  Card card(screen, 1, Word::kProject, Word::kProjectWords);
  card.facts("[q k v] = x W + b",
             shape({1, tokens, w.model_width}) + " → " + shape({1, tokens, outputs}),
             flops(screen, 2 * tokens * w.model_width * outputs));
  card.row("x", w.x);
  card.line("", say(screen.lang, Word::kLengthOf, "x", figure(length(w.x)), w.model_width));
  return card.text_of();
}

std::string split_card(const Screen& screen, const Walked& w) {
  const auto tokens = static_cast<std::int64_t>(w.labels.size());
  Card card(screen, 2, Word::kSplit, Word::kSplitWords);
  card.facts(say(screen.lang, Word::kSplitFormula, w.heads, w.width),
             "q " + shape({1, w.heads, tokens, w.width}) + "  k " +
                 shape({1, w.groups, tokens, w.width}) + "  v " +
                 shape({1, w.groups, tokens, w.value_width}),
             say(screen.lang, Word::kNoFlop));
  card.row("q", w.q);
  card.row("k", w.k);
  card.row("v", w.v);
  return card.text_of();
}

std::string key_lines(const Screen& screen, const Walked& w) {
  std::vector<std::size_t> visible;
  for (std::size_t j = 0; j < w.weights.size(); ++j) {
    if (w.weights[j] > 0.0F) visible.push_back(j);
  }
  std::vector<std::size_t> shown = visible;
  if (shown.size() > kMostKeys) {
    std::stable_sort(shown.begin(), shown.end(), [&](std::size_t a, std::size_t b) {
      return w.weights[a] > w.weights[b];
    });
    shown.resize(kMostKeys);
    std::sort(shown.begin(), shown.end());
  }
  // Beside its name a key has a number, a score, a weight and a bar.
  const int room = screen.width - (kIndent + 5 + 1 + 9 + 2 + 3 + 1 + kBar);
  int name = 0;
  for (const std::size_t j : shown) name = std::max(name, columns(clean(w.names[j])));
  name = std::min(name, room);
  std::string out = spaces(kIndent) +
                    paint(screen,
                          Paint::kDim,
                          left(say(screen.lang, Word::kKey), name + 6) +
                              right(say(screen.lang, Word::kScoreColumn), 9) + "  " +
                              say(screen.lang, Word::kWeight)) +
                    '\n';
  double rest = 1.0;
  for (const std::size_t j : shown) {
    const auto weight = static_cast<double>(w.weights[j]);
    rest -= weight;
    out += spaces(kIndent) + right(std::to_string(j), 4) + ' ' +
           left(clip(clean(w.names[j]), name), name + 1) +
           right(figure(static_cast<double>(w.scores[j])), 9) + "  " + share(weight) + ' ' +
           bar(weight, kBar);
    out.erase(out.find_last_not_of(' ') + 1);
    out += '\n';
  }
  if (shown.size() < visible.size()) {
    out += spaces(kIndent) +
           paint(screen,
                 Paint::kDim,
                 say(screen.lang,
                     Word::kMoreKeys,
                     visible.size() - shown.size(),
                     share(std::max(rest, 0.0)))) +
           '\n';
  }
  return out;
}

std::string focus_card(const Screen& screen, const Walked& w) {
  const auto tokens = static_cast<std::int64_t>(w.labels.size());
  const double sum =
      std::accumulate(w.weights.begin(), w.weights.end(), 0.0, [](double s, float x) {
        return s + static_cast<double>(x);
      });
  Card card(screen, 3, Word::kFocus, Word::kFocusWords);
  card.facts(
      say(screen.lang, w.bent ? Word::kFocusFormulaBent : Word::kFocusFormula, figure(w.scale)),
      "z " + shape({1, w.heads, tokens, w.value_width}) + "  lse " + shape({1, w.heads, tokens}),
      flops(screen, 2 * w.heads * tokens * tokens * (w.width + w.value_width)));
  card.raw(key_lines(screen, w));
  card.line(
      "lse",
      say(screen.lang, Word::kLseAndSum, fmt::format("{:.4f}", w.lse), fmt::format("{:.6f}", sum)));
  card.row("z", w.z);
  return card.text_of();
}

// One bar a head, as many across as fit; the walked head is marked.
std::string head_bars(const Screen& screen, const Walked& w, const std::vector<double>& lengths) {
  constexpr int kHeadBar = 8;
  constexpr int kColumn = 5 + kHeadBar + 8;
  const double most = *std::max_element(lengths.begin(), lengths.end());
  const auto across = static_cast<std::size_t>(std::max((screen.width - kIndent) / kColumn, 1));
  std::string out;
  for (std::size_t h = 0; h < lengths.size(); ++h) {
    if (h % across == 0) out += spaces(kIndent);
    const bool mine = static_cast<int>(h) == w.head.head;
    std::string cell = (mine ? "▸" : " ") + left(std::to_string(h), 4) +
                       bar(most > 0.0 ? lengths[h] / most : 0.0, kHeadBar) + ' ' +
                       figure(lengths[h]);
    const bool end = (h + 1) % across == 0 || h + 1 == lengths.size();
    if (!end) cell = left(cell, kColumn);
    out += mine ? paint(screen, Paint::kTitle, cell) : cell;
    if (end) out += '\n';
  }
  return out;
}

std::string merge_card(const Screen& screen, const Walked& w) {
  const auto tokens = static_cast<std::int64_t>(w.labels.size());
  Card card(screen, 4, Word::kMerge, Word::kMergeWords);
  card.facts("m = [z_0 | z_1 | … ]",
             shape({1, w.heads, tokens, w.value_width}) + " → " +
                 shape({1, tokens, w.heads * w.value_width}),
             say(screen.lang, Word::kNoFlop));
  card.line("|z_h|", say(screen.lang, Word::kFindings));
  card.raw(head_bars(screen, w, w.findings));
  return card.text_of();
}

std::string output_card(const Screen& screen, const Walked& w) {
  const auto tokens = static_cast<std::int64_t>(w.labels.size());
  const std::int64_t inputs = w.heads * w.value_width;
  Card card(screen, 5, Word::kOutput, Word::kOutputWords);
  card.facts("y = m W_O + b_O = Σ_h z_h W_O^h + b_O",
             shape({1, tokens, inputs}) + " → " + shape({1, tokens, w.model_width}),
             flops(screen, 2 * tokens * inputs * w.model_width));
  card.line("|z_h W_O|", say(screen.lang, Word::kContributionWords));
  card.raw(head_bars(screen, w, w.contributions));
  card.row("y", w.out);
  card.line(say(screen.lang, Word::kLaw),
            say(screen.lang, Word::kLawWords, fmt::format("{:.1e}", w.error)));
  return card.text_of();
}
}  // namespace

std::string render_walk(const Screen& screen, const Walked& w) {
  const auto tokens = static_cast<std::int64_t>(w.labels.size());
  std::string head = w.model + "  " + say(screen.lang, Word::kHeadTitle, w.head.name());
  if (!w.role.empty()) head += " (" + clean(w.role) + ')';
  head += "  " + say(screen.lang, Word::kRowOf, w.row, clip(clean(w.row_name), 40), tokens);
  std::string out = paint(screen, Paint::kTitle, clip(head, screen.width)) + '\n';
  out += "«" + clip(clean(w.text), screen.width - 2) + "»\n";
  return tidy(out + project_card(screen, w) + split_card(screen, w) + focus_card(screen, w) +
              merge_card(screen, w) + output_card(screen, w));
}

std::string walk_json(const Walked& w) {
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "walk");
  json.field("model", w.model).field("text", w.text).field("role", w.role);
  json.field("layer", w.head.layer).field("head", w.head.head).field("row", w.row);
  json.key("tokens").begin_array();
  for (const Label& label : w.labels) json.value(label.text);
  json.end_array();
  json.field("heads", w.heads).field("groups", w.groups).field("head_width", w.width);
  json.field("value_width", w.value_width).field("model_width", w.model_width);
  json.field("scale", w.scale);
  for (const auto& [name, numbers] : {std::pair{"x", &w.x},
                                      std::pair{"q", &w.q},
                                      std::pair{"k", &w.k},
                                      std::pair{"v", &w.v},
                                      std::pair{"scores", &w.scores},
                                      std::pair{"weights", &w.weights},
                                      std::pair{"z", &w.z},
                                      std::pair{"out", &w.out}}) {
    json.array(name, std::span<const float>(*numbers));
  }
  json.field("lse", w.lse);
  json.array("finding_lengths", std::span<const double>(w.findings));
  json.array("contribution_lengths", std::span<const double>(w.contributions));
  json.field("reconstruction_error", w.error).end_object();
  return std::move(json).take();
}

}  // namespace headscope::cli
