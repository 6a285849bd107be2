#include "cli/draw.h"

#include <algorithm>
#include <cmath>

#include "cli/maps.h"

namespace headscope::cli {

namespace {
constexpr double kFaint = 0.02;
constexpr int kCell = 4;
constexpr std::size_t kMostWords = 60;
constexpr int kPooledSide = 64;

int label_width(const Screen& screen, const std::vector<Sighting::Word>& words) {
  int width = 0;
  for (const auto& word : words) width = std::max(width, columns(clean(word.text)));
  return std::min(width, std::clamp(screen.width / 6, 10, 18));
}

// The first letters of a word, for the head of a column.
std::string initials(std::string_view word) {
  std::string out = clip(clean(word), kCell);
  if (out.ends_with("…")) out.erase(out.size() - std::string_view("…").size());
  return left(out, kCell - 1);
}

// Columns [from, to) of the table.
std::string table_part(const Screen& screen,
                       View<const float, 2> map,
                       const std::vector<Sighting::Word>& words,
                       std::size_t from,
                       std::size_t to,
                       int labels) {
  std::string numbers = spaces(labels + 5);
  std::string heads = numbers;
  for (std::size_t j = from; j < to; ++j) {
    numbers += ' ' + right(std::to_string(words[j].first), kCell - 1);
    heads += ' ' + initials(words[j].text);
  }
  heads.erase(heads.find_last_not_of(' ') + 1);
  std::string out =
      paint(screen, Paint::kDim, numbers) + '\n' + paint(screen, Paint::kDim, heads) + '\n';
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::string line = right(std::to_string(words[i].first), 4) + ' ' +
                       left(clip(clean(words[i].text), labels), labels);
    for (std::size_t j = from; j < to; ++j) {
      const auto weight = static_cast<double>(map(i, j));
      const bool faint = weight < kFaint;
      line += faint ? spaces(kCell) : shade(screen, weight, ' ' + share(weight));
    }
    out += trimmed(line) + '\n';
  }
  return out;
}

std::string pooled_map(const Screen& screen, const Sighting& sighting, HeadId head) {
  const int side = std::min(screen.width - 4, kPooledSide);
  const Pixels pixels = head_pixels(sighting, head, side);
  std::string out;
  for (const std::string& line : half_blocks(screen, pixels)) out += trimmed("  " + line) + '\n';
  const auto tokens = static_cast<double>(sighting.labels.size());
  const std::string note = say(screen.lang,
                               Word::kPooledNote,
                               figure(tokens / std::max(pixels.rows, 1)),
                               figure(tokens / std::max(pixels.columns, 1)),
                               say(screen.lang, screen.colour ? Word::kDarker : Word::kMarkMeans));
  return out + "  " + paint(screen, Paint::kDim, wrap(note, screen.width, 2)) + '\n';
}

float value(const Tensor& statistic, std::int64_t slot, std::int64_t rows, std::int64_t i) {
  return statistic.span<float>()[static_cast<std::size_t>(slot * rows + i)];
}
}  // namespace

std::string word_table(const Screen& screen, const Sighting& sighting, HeadId head) {
  const auto words = sighting.words();
  if (words.size() > kMostWords) return pooled_map(screen, sighting, head);
  const Tensor map = sighting.word_map(head.layer, head.head);
  const auto view = map.view<float, 2>();
  const int labels = label_width(screen, words);
  const auto fit = static_cast<std::size_t>(std::max((screen.width - labels - 5) / kCell, 1));
  std::string out;
  for (std::size_t from = 0; from < words.size(); from += fit) {
    if (from > 0) out += '\n';
    out += table_part(screen, view, words, from, std::min(from + fit, words.size()), labels);
  }
  double hidden = 0.0;
  double total = 0.0;
  for (const float weight : map.span<float>()) {
    total += static_cast<double>(weight);
    if (static_cast<double>(weight) < kFaint) hidden += static_cast<double>(weight);
  }
  const std::string percent = figure(total > 0.0 ? 100.0 * hidden / total : 0.0);
  const std::string note = say(screen.lang, Word::kTableNote, percent);
  return out + "  " + paint(screen, Paint::kDim, wrap(note, screen.width, 2)) + '\n';
}

std::string row_table(const Screen& screen, const Sighting& sighting, HeadId head, int most) {
  const FocusRecord& record = sighting.layers.at(static_cast<std::size_t>(head.layer));
  const std::int64_t slot = record.slot(head.head);
  const auto argmax = record.argmax.span<std::int32_t>();
  constexpr int kFigures = 50;  // Columns of everything that is not a token.
  const int labels = std::clamp((screen.width - kFigures) / 2, 10, 18);
  const std::string head_line = spaces(5) + left(say(screen.lang, Word::kRowToken), labels) + ' ' +
                                left(say(screen.lang, Word::kRowLooksAt), labels + 4) +
                                right(say(screen.lang, Word::kRowEntropy), 9) +
                                right(say(screen.lang, Word::kRowDistance), 12) +
                                right(say(screen.lang, Word::kRowFirst), 7) +
                                right(say(screen.lang, Word::kRowSelf), 6) +
                                right(say(screen.lang, Word::kRowPrevious), 6);
  std::string out = paint(screen, Paint::kDim, head_line) + '\n';
  const std::int64_t rows = std::min<std::int64_t>(record.rows, most);
  for (std::int64_t i = 0; i < rows; ++i) {
    const auto at = [&](const Tensor& t) {
      return static_cast<double>(value(t, slot, record.rows, i));
    };
    const std::int32_t key = argmax[static_cast<std::size_t>(slot * record.rows + i)];
    const std::string target = key < 0 ? say(screen.lang, Word::kNothing)
                                       : clean(sighting.labels[static_cast<std::size_t>(key)].text);
    const std::string distance = fmt::format("{:.1f}±{:.1f}",
                                             at(record.distance_mean),
                                             std::sqrt(std::max(at(record.distance_var), 0.0)));
    out += right(std::to_string(i), 4) + ' ' +
           left(clip(clean(sighting.labels[static_cast<std::size_t>(i)].text), labels), labels) +
           ' ' + left(clip(target, labels), labels) + ' ' + share(at(record.max_weight)) +
           right(fmt::format("{:.2f}", at(record.entropy)), 9) + right(distance, 12) +
           right(share(at(record.first_mass)), 7) + right(share(at(record.self_mass)), 6) +
           right(share(at(record.previous_mass)), 6) + '\n';
  }
  if (rows < record.rows) {
    out += "  " +
           paint(screen, Paint::kDim, say(screen.lang, Word::kMoreRows, record.rows - rows)) + '\n';
  }
  return out;
}

}  // namespace headscope::cli
