#include "doctor/roles.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>

#include "headscope/threads.h"

namespace headscope::doctor {

namespace {
constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr std::size_t index(Measure m) { return static_cast<std::size_t>(m); }

// Sums of one head over texts.
struct Sums {
  std::array<Tally, kMeasures> tallies;
  Tally on_first;  // rows whose largest weight is there
  std::map<std::int64_t, std::array<std::int64_t, 2>> offsets;  // hits, rows

  Tally& operator[](Measure m) { return tallies[index(m)]; }
};

struct Text {
  std::span<const std::int32_t> ids;
  std::vector<std::uint8_t> rarest;
  bool last_special = false;
};

double even_at(
    const FocusRecord& r, int head, std::int64_t offset, std::int64_t first, std::int64_t* n) {
  const Tally t = at_offset(r, head, offset, first, r.rows);
  *n = t.n;
  return t.even;
}

void add_mean(Tally& to, double mean, double even, std::int64_t n) {
  to.sum += mean * static_cast<double>(n);
  to.even += even;
  to.n += n;
}

void add_text(Sums& s, const FocusRecord& r, int head, const Text& text) {
  const Summary m = summarise(r, head);
  const std::int64_t T = r.rows;
  std::int64_t n = 0;
  double even = even_at(r, head, -1, 1, &n);
  if (T > 1) add_mean(s[Measure::kPrevious], m.previous_mass, even, T - 1);
  s[Measure::kNext].add(at_offset(r, head, 1, 0, T));
  even = even_at(r, head, 0, 0, &n);
  add_mean(s[Measure::kSelf], m.self_mass, even, T);
  // A row that may see itself sees as many keys as any weight is spread over: the same baseline for fixed places.
  if (T > 1) {
    const Tally own = at_offset(r, head, 0, 1, T);
    add_mean(s[Measure::kFirst], m.first_mass, own.even, T - 1);
  }
  if (text.last_special && !r.options.causal)
    add_mean(
        s[Measure::kLast], m.last_mass, static_cast<double>(T) / static_cast<double>(r.keys), T);
  s[Measure::kDuplicate].add(duplicates(r, head, text.ids));
  s[Measure::kRare].add(largest_on(r, head, text.rarest));
  std::vector<std::uint8_t> first(text.ids.size(), 0);
  first.front() = 1;
  s.on_first.add(largest_on(r, head, first));
  add_mean(s[Measure::kBroad], m.entropy, 0.0, T);
  add_mean(s[Measure::kSure], m.confidence, 0.0, T);
  add_mean(s[Measure::kDistance], m.distance_mean, 0.0, T);
  const Offsets o = offsets(r, head);
  for (std::int64_t d = 1 - T; d < T; ++d) {
    const auto at = static_cast<std::size_t>(d + T - 1);
    if (o.rows[at] == 0) continue;
    auto& both = s.offsets[d];
    both[0] += o.hits[at];
    both[1] += o.rows[at];
  }
}

// Runs a text and shows each layer's record to `body`, one at a time where the model can go on in the middle.
template <typename Body>
void look(const Model& model, const Tokens& tokens, const Body& body) {
  Sight sight;
  sight.keep_qk = true;
  RunOptions options;
  options.outputs = false;
  options.sight = &sight;
  if (!model.resumes()) {
    const Run run = model.run(tokens, options);
    for (int l = 0; l < model.layers(); ++l)
      body(l, run.sighting.layers[static_cast<std::size_t>(l)]);
    return;
  }
  Resume resume;
  options.resume = &resume;
  Tensor x;
  for (int l = 0; l < model.layers(); ++l) {
    resume.layer = l;
    resume.end = l + 1;
    resume.x = l == 0 ? nullptr : &x;
    options.layers = {l};
    Run run = model.run(tokens, options);
    body(l, run.sighting.layers[static_cast<std::size_t>(l)]);
    x = std::move(run.last_hidden_state);
  }
}

// The tokens of a text that are said most seldom in all of them.
std::vector<Text> read(const Model& model, std::span<const Tokens> texts) {
  std::map<std::int32_t, std::int64_t> counts;
  for (const Tokens& t : texts) {
    for (const std::int32_t id : t.ids.span<std::int32_t>()) ++counts[id];
  }
  std::set<std::int32_t> special;
  for (const auto& [id, n] : counts) {
    if (is_special(model, id)) special.insert(id);
  }
  const auto is_special = [&](std::int32_t id) { return special.contains(id); };
  std::vector<Text> out;
  for (const Tokens& t : texts) {
    Text text;
    text.ids = t.ids.span<std::int32_t>();
    text.last_special = is_special(text.ids.back());
    std::int64_t least = std::numeric_limits<std::int64_t>::max();
    for (const std::int32_t id : text.ids) {
      if (!is_special(id)) least = std::min(least, counts[id]);
    }
    for (const std::int32_t id : text.ids)
      text.rarest.push_back(!is_special(id) && counts[id] == least ? 1 : 0);
    out.push_back(std::move(text));
  }
  return out;
}

Score score_of(Measure m, const Tally& t) {
  Score out;
  out.n = t.n;
  if (t.n == 0) return out;
  out.score = t.sum / static_cast<double>(t.n);
  const MeasureFacts& facts = kMeasureFacts[index(m)];
  out.label = out.n >= kFewRows && out.score >= facts.least;
  if (!has_baseline(m)) return out;
  out.baseline = t.even / static_cast<double>(t.n);
  out.label = out.label && out.score >= out.baseline + facts.above;
  return out;
}

// The favourite offset: most hits among those that at least a tenth of all rows have.
Score favourite(const Sums& s, std::int64_t rows, std::int64_t& offset) {
  Score out;
  std::int64_t best = 0;
  for (const auto& [d, both] : s.offsets) {
    if (both[1] * 10 < rows || both[0] <= best) continue;
    best = both[0];
    offset = d;
    out.n = both[1];
    out.score = static_cast<double>(both[0]) / static_cast<double>(both[1]);
  }
  if (best == 0 && rows > 0) {
    out.n = rows;
    out.score = 0.0;
  }
  const MeasureFacts& facts = kMeasureFacts[index(Measure::kPosition)];
  out.label = out.n >= kFewRows && out.score >= facts.least;
  return out;
}

HeadRoles roles_of(HeadId id, Sums& s) {
  HeadRoles out;
  out.id = id;
  for (const MeasureFacts& facts : kMeasureFacts) {
    out.scores[index(facts.measure)] = score_of(facts.measure, s[facts.measure]);
  }
  const std::int64_t rows = s[Measure::kSelf].n;
  out.scores[index(Measure::kPosition)] = favourite(s, rows, out.offset);
  // A head that rests on the first token until something comes is no sink: a sink stays there in 90 % of rows.
  const Score stays = score_of(Measure::kPosition, s.on_first);
  Score& first = out.scores[index(Measure::kFirst)];
  first.label = first.label && stays.score >= kMeasureFacts[index(Measure::kPosition)].least;
  return out;
}

}  // namespace

const std::array<MeasureFacts, kMeasures> kMeasureFacts = {{
    {Measure::kPrevious, "previous", 0.5, 0.1},
    {Measure::kNext, "next", 0.5, 0.1},
    {Measure::kSelf, "self", 0.5, 0.1},
    {Measure::kFirst, "first", 0.5, 0.1},
    {Measure::kLast, "last", 0.5, 0.1},
    {Measure::kPosition, "position", 0.9, 0.0},
    {Measure::kDuplicate, "duplicate", 0.5, 0.1},
    {Measure::kInduction, "induction", 0.5, 0.1},
    {Measure::kRare, "rare", 0.5, 0.25},
    {Measure::kBroad, "entropy", 3.8, 0.0},
    {Measure::kSure, "confidence", kNever, 0.0},
    {Measure::kDistance, "distance", kNever, 0.0},
    {Measure::kCopying, "copying", 0.5, 0.0},
}};

bool is_special(const Model& model, std::int32_t id) {
  try {
    return model.tokenizer().decode(std::span(&id, 1), true).empty() &&
           !model.tokenizer().decode(std::span(&id, 1), false).empty();
  } catch (const Error&) {  // An id in a gap of the vocabulary is no word.
    return true;
  }
}

Tokens repeated_tokens(const Model& model, std::int64_t s, std::uint64_t seed) {
  const auto V = static_cast<std::uint64_t>(model.tokenizer().vocabulary_size());
  if (s < 1 || V < 4 * static_cast<std::uint64_t>(s)) {
    throw Error(
        ErrorCode::kRange,
        fmt::format("[roles] expected a vocabulary of at least {} tokens to repeat {}, found {}",
                    4 * s,
                    s,
                    V));
  }
  std::set<std::int32_t> taken;
  Tokens out;
  out.ids = Tensor(DType::kI32, {1, 2 * s});
  const auto ids = out.ids.span<std::int32_t>();
  std::mt19937_64 random(seed);
  for (std::int64_t i = 0; i < s;) {
    const auto id = static_cast<std::int32_t>(random() % V);
    // A vocabulary of special tokens alone ends the search all the same.
    if (!taken.insert(id).second || (is_special(model, id) && taken.size() < V / 2)) continue;
    ids[static_cast<std::size_t>(i)] = ids[static_cast<std::size_t>(s + i)] = id;
    ++i;
  }
  return out;
}

std::vector<HeadRoles> roles(const Model& model,
                             std::span<const Tokens> texts,
                             const RolesOptions& options,
                             const Told& told) {
  if (texts.empty()) throw Error(ErrorCode::kInput, "[roles] expected a text, found none");
  const std::vector<HeadId> ids = heads_of(model);
  std::map<HeadId, Sums> sums;
  for (const HeadId id : ids) sums[id];
  const auto over_heads = [&](int layer, const auto& body) {
    const int H = model.heads(layer);
    parallel_for(H, [&](std::int64_t h) {
      body(sums.at({layer, static_cast<int>(h)}), static_cast<int>(h));
    });
  };
  const std::vector<Text> read_texts = read(model, texts);
  const std::int64_t s = std::min({options.repeated,
                                   model.positions() / 2,
                                   std::int64_t{model.tokenizer().vocabulary_size()} / 4});
  const std::int64_t repeats = s > 1 ? options.repeats : 0;
  const auto L = static_cast<std::int64_t>(model.layers());
  const std::int64_t total = (static_cast<std::int64_t>(texts.size()) + repeats) * L;
  std::int64_t done = 0;
  for (std::size_t t = 0; t < texts.size(); ++t) {
    look(model, texts[t], [&](int layer, const FocusRecord& record) {
      over_heads(layer, [&](Sums& to, int head) { add_text(to, record, head, read_texts[t]); });
      if (told) told(++done, total);
    });
  }
  for (std::int64_t n = 0; n < repeats; ++n) {
    const Tokens twice = repeated_tokens(model, s, options.seed + static_cast<std::uint64_t>(n));
    look(model, twice, [&](int layer, const FocusRecord& record) {
      over_heads(layer, [&](Sums& to, int head) {
        to[Measure::kInduction].add(at_offset(record, head, 1 - s, s, 2 * s));
      });
      if (told) told(++done, total);
    });
  }
  std::vector<HeadRoles> out;
  for (const HeadId id : ids) out.push_back(roles_of(id, sums.at(id)));
  for (int l = 0, at = 0; options.circuits && l < model.layers(); ++l) {
    for (const auto& value : copying(model, l)) {
      Score& score = out[static_cast<std::size_t>(at++)].scores[index(Measure::kCopying)];
      if (!value) continue;
      score.score = *value;
      score.n = 1;
      score.label = *value >= kMeasureFacts[index(Measure::kCopying)].least;
    }
  }
  return out;
}

}  // namespace headscope::doctor
