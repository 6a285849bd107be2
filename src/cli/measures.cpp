#include "cli/measures.h"

#include <unicode/unistr.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "cli/labels.h"
#include "cli/screen.h"
#include "headscope/threads.h"

namespace headscope::cli {

namespace {
constexpr double kFaint = 0.02;

// Words that appear more than once: positions in `words` by folded text.
std::vector<std::vector<std::size_t>> repeated(const std::vector<Sighting::Word>& words) {
  std::map<std::string, std::vector<std::size_t>> places;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (!words[i].special) places[folded(words[i].text)].push_back(i);
  }
  std::vector<std::vector<std::size_t>> out;
  for (auto& [word, where] : places) {
    if (where.size() > 1) out.push_back(std::move(where));
  }
  return out;
}

void measure_same(const FocusRecord& record,
                  int head,
                  const std::vector<Sighting::Word>& words,
                  const std::vector<std::vector<std::size_t>>& same,
                  Summary& summary) {
  double sum = 0.0;
  for (const auto& places : same) {
    for (const std::size_t i : places) {
      for (const std::size_t j : places) {
        if (i != j) sum += word_weight(record, head, words[i], words[j]);
      }
      ++summary.same_rows;
    }
  }
  if (summary.same_rows > 0) summary.same_mass = sum / static_cast<double>(summary.same_rows);
}

// Calls body(layer, head) for every head, on all threads.
template <typename Body>
void for_heads(const Sighting& sighting, const Body& body) {
  std::vector<HeadId> heads;
  for (std::size_t l = 0; l < sighting.layers.size(); ++l) {
    for (const int h : sighting.layers[l].heads) heads.push_back({static_cast<int>(l), h});
  }
  parallel_for(static_cast<std::int64_t>(heads.size()),
               [&](std::int64_t i) { body(heads[static_cast<std::size_t>(i)]); });
}

template <typename T>
std::vector<std::vector<T>> one_a_head(const Sighting& sighting) {
  std::vector<std::vector<T>> out;
  for (const FocusRecord& record : sighting.layers) {
    out.emplace_back(static_cast<std::size_t>(record.query_heads));
  }
  return out;
}

// The words that a token index belongs to: tokens between words belong to none.
std::vector<std::size_t> word_of_token(const std::vector<Sighting::Word>& words,
                                       std::size_t tokens) {
  std::vector<std::size_t> out(tokens, words.size());
  for (std::size_t w = 0; w < words.size(); ++w) {
    for (std::int64_t t = words[w].first; t <= words[w].last; ++t) {
      out[static_cast<std::size_t>(t)] = w;
    }
  }
  return out;
}

// Layers that look at parts of a picture have other rows than the words that are shown.
bool over_words(const Sighting& sighting, const FocusRecord& record) {
  return record.batch == 1 && record.rows == record.keys &&
         record.rows == static_cast<std::int64_t>(sighting.labels.size());
}

// The first row of a causal head has one key to look at: its weight of 1 says nothing.
bool has_choice(const FocusRecord& record, const Sighting::Word& word) {
  return !record.options.causal || record.options.prefix > 1 || word.last > 0;
}

std::vector<Link> all_links(const Sighting& sighting,
                            HeadId id,
                            const std::vector<Sighting::Word>& words) {
  const Tensor map = sighting.word_map(id.layer, id.head);
  const auto view = map.view<float, 2>();
  const FocusRecord& record = sighting.layers[static_cast<std::size_t>(id.layer)];
  std::vector<Link> out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i].special || !has_choice(record, words[i])) continue;
    for (std::size_t j = 0; j < words.size(); ++j) {
      const auto weight = static_cast<double>(view(i, j));
      if (weight >= kFaint) out.push_back({id, i, j, weight});
    }
  }
  return out;
}

std::vector<Link> top_links(const Sighting& sighting,
                            HeadId id,
                            const std::vector<Sighting::Word>& words) {
  const FocusRecord& record = sighting.layers[static_cast<std::size_t>(id.layer)];
  const std::int64_t slot = record.slot(id.head);
  const auto keys = record.top_keys.view<std::int32_t, 4>();
  const auto owner = word_of_token(words, static_cast<std::size_t>(record.keys));
  std::vector<Link> out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i].special || !has_choice(record, words[i])) continue;
    std::set<std::size_t> targets;
    for (std::int64_t t = words[i].first; t <= words[i].last; ++t) {
      for (std::int64_t k = 0; k < keys.shape[3]; ++k) {
        const std::int32_t key = keys(0, slot, t, k);
        if (key >= 0) targets.insert(owner[static_cast<std::size_t>(key)]);
      }
    }
    targets.erase(words.size());
    for (const std::size_t j : targets) {
      const double weight = word_weight(record, id.head, words[i], words[j]);
      if (weight >= kFaint) out.push_back({id, i, j, weight});
    }
  }
  return out;
}

// Stronger by what a reader sees; links that look the same keep the order of the text, whatever rounding
// an instruction set leaves in their last digits.
bool stronger(const Link& a, const Link& b) {
  const auto seen = [](double weight) { return -std::lround(weight * 1e3); };
  return std::tuple(seen(a.weight), a.head, a.from, a.to) <
         std::tuple(seen(b.weight), b.head, b.from, b.to);
}
}  // namespace

std::string folded(std::string_view word) {
  icu::UnicodeString unicode = icu::UnicodeString::fromUTF8(
      icu::StringPiece(word.data(), static_cast<std::int32_t>(word.size())));
  std::string out;
  unicode.foldCase().toUTF8String(out);
  return out;
}

double word_weight(const FocusRecord& record,
                   int head,
                   const Sighting::Word& from,
                   const Sighting::Word& to) {
  std::vector<float> weights(static_cast<std::size_t>(to.last - to.first + 1));
  double sum = 0.0;
  for (std::int64_t i = from.first; i <= from.last; ++i) {
    record.row(0, head, i, to.first, weights);
    for (const float w : weights) sum += static_cast<double>(w);
  }
  return sum / static_cast<double>(from.last - from.first + 1);
}

std::vector<std::vector<Summary>> summarise(const Sighting& sighting) {
  auto out = one_a_head<Summary>(sighting);
  const auto words = sighting.words();
  const auto same = repeated(words);
  for_heads(sighting, [&](HeadId id) {
    const auto layer = static_cast<std::size_t>(id.layer);
    Summary summary = doctor::summarise(sighting.layers[layer], id.head);
    measure_same(sighting.layers[layer], id.head, words, same, summary);
    out[layer][static_cast<std::size_t>(id.head)] = summary;
  });
  return out;
}

Links::Links(const Sighting& sighting, Lang lang)
    : words_(sighting.words()),
      of_text_(sighting.scene.kind == Scene::Kind::kText),
      links_(one_a_head<std::vector<Link>>(sighting)) {
  for (const Sighting::Word& word : words_) {
    const Label& label = sighting.labels.at(static_cast<std::size_t>(word.first));
    names_.push_back(clean(of_text_ ? word.text : short_label(lang, sighting, label)));
  }
  const bool exact = static_cast<std::int64_t>(sighting.labels.size()) <= kExact;
  for_heads(sighting, [&](HeadId id) {
    const FocusRecord& record = sighting.layers[static_cast<std::size_t>(id.layer)];
    if (!over_words(sighting, record)) return;
    const bool every = exact || record.top_keys.empty();
    auto links = every ? all_links(sighting, id, words_) : top_links(sighting, id, words_);
    std::sort(links.begin(), links.end(), stronger);
    links_[static_cast<std::size_t>(id.layer)][static_cast<std::size_t>(id.head)] =
        std::move(links);
  });
}

const std::vector<Link>& Links::of(HeadId head) const {
  return links_.at(static_cast<std::size_t>(head.layer)).at(static_cast<std::size_t>(head.head));
}

std::vector<Link> Links::strongest(HeadId head, std::size_t n) const {
  const auto& links = of(head);
  double total = 0.0;
  double special = 0.0;
  double self = 0.0;
  for (const Link& link : links) {
    total += link.weight;
    if (words_[link.to].special) special += link.weight;
    if (link.to == link.from) self += link.weight;
  }
  std::vector<Link> out;
  std::set<std::size_t> taken;
  for (const Link& link : links) {
    if (out.size() == n) break;
    if (words_[link.to].special && special < total / 2) continue;
    if (link.to == link.from && self < total / 2) continue;
    if (taken.insert(link.from).second) out.push_back(link);
  }
  return out;
}

std::vector<Link> Links::between_words(HeadId head, std::size_t n) const {
  std::vector<Link> out;
  std::set<std::size_t> taken;
  for (const Link& link : of(head)) {
    if (out.size() == n) break;
    if (words_[link.to].special || link.to == link.from) continue;
    if (taken.insert(link.from).second) out.push_back(link);
  }
  return out;
}

std::vector<Link> Links::of_row(const Sighting& sighting,
                                HeadId head,
                                std::int64_t row,
                                std::size_t n) const {
  constexpr double kPrinted = 0.005;
  const FocusRecord& record = sighting.layers.at(static_cast<std::size_t>(head.layer));
  if (!over_words(sighting, record)) return {};
  const auto owner = word_of_token(words_, sighting.labels.size());
  const std::size_t from = owner.at(static_cast<std::size_t>(row));
  std::vector<Link> out;
  for (std::size_t to = 0; to < words_.size(); ++to) {
    const double weight = word_weight(record, head.head, words_.at(from), words_[to]);
    if (weight >= kPrinted) out.push_back({head, from, to, weight});
  }
  std::sort(out.begin(), out.end(), stronger);
  if (out.size() > n) out.resize(n);
  return out;
}

std::vector<Link> Links::surprising(std::size_t n, std::optional<int> layer) const {
  std::vector<Link> candidates;
  for (std::size_t l = 0; l < links_.size(); ++l) {
    if (layer && *layer != static_cast<int>(l)) continue;
    for (const auto& head : links_[l]) {
      for (const Link& link : head) {
        const auto apart =
            static_cast<std::int64_t>(link.from) - static_cast<std::int64_t>(link.to);
        if (words_[link.to].special || std::abs(apart) < 2) continue;
        if (folded(words_[link.from].text) != folded(words_[link.to].text)) {
          candidates.push_back(link);
        }
      }
    }
  }
  std::sort(candidates.begin(), candidates.end(), stronger);
  std::vector<Link> out;
  std::set<std::pair<std::size_t, std::size_t>> pairs;
  std::map<HeadId, int> used;
  for (const Link& link : candidates) {
    if (out.size() == n) break;
    if (used[link.head] == 2 || !pairs.insert({link.from, link.to}).second) continue;
    ++used[link.head];
    out.push_back(link);
  }
  return out;
}

}  // namespace headscope::cli
