#include "headscope/generate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "models/network.h"

namespace headscope {

namespace {

Tensor row_of(std::span<const std::int32_t> ids) {
  Tensor row(DType::kI32, {1, static_cast<std::int64_t>(ids.size())});
  std::copy(ids.begin(), ids.end(), row.span<std::int32_t>().begin());
  return row;
}

void least(std::int64_t x, std::int64_t limit, const char* what) {
  if (x >= limit) return;
  throw Error(ErrorCode::kRange,
              fmt::format("[generate] expected {} of at least {}, found {}", what, limit, x));
}

GenerateOptions checked(GenerateOptions options, std::size_t sequences) {
  least(static_cast<std::int64_t>(sequences), 1, "a number of sequences");
  least(options.most, 0, "a number of tokens");
  least(options.block, 1, "a block");
  least(options.positions, 0, "positions");
  if (options.sight != nullptr && sequences > 1) {
    throw Error(ErrorCode::kUsage,
                fmt::format("[generate] expected one sequence with a Sight, found {}", sequences));
  }
  return options;
}

// Whether Rope::at gives the same for these lengths.
bool same_angles(const models::Rope& rope, std::int64_t a, std::int64_t b) {
  using Kind = models::Rope::Kind;
  const auto x = static_cast<double>(a);
  const auto y = static_cast<double>(b);
  if (rope.kind == Kind::kLongRope) return (x > rope.original) == (y > rope.original);
  return rope.kind != Kind::kDynamic || std::max(x, rope.original) == std::max(y, rope.original);
}

}  // namespace

Generator::Generator(const Model& model, GenerateOptions options, std::size_t sequences)
    : model_(&model), options_(checked(std::move(options), sequences)) {
  positions_ = options_.positions == 0 ? model.answer_positions() : options_.positions;
  if (options_.slide) least(positions_, 2, "positions to slide on");
  const models::Blueprint& b = model.network().blueprint();
  if (b.position_rows > 0 && positions_ > b.positions) {
    throw Error(ErrorCode::kRange,
                fmt::format("[generate] expected a context of at most {} tokens, as many as {} has "
                            "positions for, found {}",
                            b.positions,
                            model.family(),
                            positions_));
  }
  for (std::size_t n = 0; n < sequences; ++n) {
    sequences_.push_back(
        {model.cache(options_.cache, positions_), {}, {}, {}, {}, Ended::kNot, 0, 0, 0});
  }
}

std::span<const float> Generator::logits(std::size_t n) const {
  const Tensor& logits = sequences_.at(n).logits;
  if (logits.empty())
    throw Error(ErrorCode::kUsage, "[generate] expected read() before logits, found none");
  return logits.span<float>();
}

std::int64_t Generator::length(std::size_t n) const { return sequences_.at(n).cache.length(); }

// Tokens at the beginning that stay when a sequence slides on.
std::int64_t Generator::first_kept() const {
  const auto begun = static_cast<std::int64_t>(model_->generation().begin.size());
  return std::min(std::max<std::int64_t>(1, begun), positions_ / 2);
}

std::int64_t Generator::number_of(std::int64_t i, std::size_t n) const {
  return i < first_kept() ? i : i + sequences_.at(n).forgotten;
}

std::size_t Generator::bytes() const {
  std::size_t sum = 0;
  for (const Sequence& sequence : sequences_) sum += sequence.cache.bytes();
  return sum;
}

// What the model's files say must not come next.
void Generator::forbid(Sequence& s) const {
  const GenerationConfig& config = model_->generation();
  const auto logits = s.logits.span<float>();
  const auto hide = [&](const std::vector<std::int32_t>& ids) {
    for (const std::int32_t id : ids) {
      if (static_cast<std::size_t>(id) < logits.size())
        logits[static_cast<std::size_t>(id)] = -std::numeric_limits<float>::infinity();
    }
  };
  hide(config.never);
  if (s.answer.empty()) hide(config.never_first);
}

// Whether tokens of sequences of these lengths turn by the same angles. While a sequence grows, dynamic scaling goes
// on with keys as they were turned when they came.
bool Generator::turns_alike(std::int64_t a, std::int64_t b, bool decoding) const {
  const auto& layers = model_->network().blueprint().layers;
  return std::all_of(layers.begin(), layers.end(), [&](const models::LayerFacts& layer) {
    const models::Rope& rope = layer.attention.rope;
    return same_angles(rope, a, b) || (decoding && rope.kind == models::Rope::Kind::kDynamic);
  });
}

// Runs ids [B,T] of these sequences, which will be `length` tokens long; the logits of the last row become those of
// each.
void Generator::advance(std::span<Sequence* const> who,
                        const Tensor& ids,
                        std::int64_t length,
                        const Tokens* input) {
  Tokens tokens;
  (model_->encoder_layers() > 0 ? tokens.decoder_ids : tokens.ids) = ids.clone();
  if (input != nullptr) {
    tokens.ids = input->ids.clone();
    tokens.attention_mask = input->attention_mask.clone();
    tokens.features = input->features.clone();
  }
  RunOptions options;
  options.edits = options_.edits;
  options.sight = options_.sight;
  options.logits_rows = 1;
  options.final_length = length;
  for (Sequence* sequence : who) {
    options.caches.push_back(&sequence->cache);
    const bool fresh = sequence->cache.length() == 0;
    sequence->shortest = fresh ? length : std::min(sequence->shortest, length);
    sequence->longest = fresh ? length : std::max(sequence->longest, length);
  }
  Run run = model_->run(tokens, options);
  if (run.logits.empty() || run.logits.shape().size() != 3) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[generate] expected a model that foretells tokens, found {} without "
                            "such a head",
                            model_->family()));
  }
  const auto all = std::as_const(run.logits).view<float, 3>();
  for (std::size_t n = 0; n < who.size(); ++n) {
    const std::int64_t V = all.shape[2];
    if (who[n]->logits.size() != V) who[n]->logits = Tensor(DType::kF32, {V});
    std::memcpy(who[n]->logits.raw(),
                &all(static_cast<std::int64_t>(n), all.shape[1] - 1, 0),
                static_cast<std::size_t>(V) * sizeof(float));
    forbid(*who[n]);
  }
  if (options_.sight != nullptr) sighting_ = std::move(run.sighting);
}

// The sequence is its first tokens again. Where a window has moved on, it is nothing again.
void Generator::keep(Sequence& s, std::size_t first) const {
  try {
    s.cache.truncate(static_cast<std::int64_t>(first));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kRange) throw;
    s.cache.truncate(0);
    first = 0;
  }
  s.ids.resize(first);
}

void Generator::read(std::span<const std::int32_t> ids, std::size_t n) {
  read_rows(ids, n, nullptr);
}

void Generator::read(const Tokens& input, std::span<const std::int32_t> begin, std::size_t n) {
  if (model_->encoder_layers() == 0) {
    throw Error(
        ErrorCode::kUsage,
        fmt::format("[generate] expected a model with an encoder for an input of its own, found {}",
                    model_->family()));
  }
  keep(sequences_.at(n), 0);
  read_rows(begin.empty() ? std::span(model_->generation().begin) : begin, n, &input);
}

void Generator::read_rows(std::span<const std::int32_t> ids, std::size_t n, const Tokens* input) {
  Sequence& s = sequences_.at(n);
  const auto count = static_cast<std::int64_t>(ids.size());
  if (count < 1 || count > positions_) {
    throw Error(ErrorCode::kInput,
                fmt::format("[generate] expected a prompt of 1 to {} tokens, found {}{}",
                            positions_,
                            count,
                            count < 1 ? "" : fmt::format(": {} too many", count - positions_)));
  }
  // The last token is run in any case: its logits are wanted.
  const auto in_cache = std::span(s.ids).first(static_cast<std::size_t>(s.cache.length()));
  const auto same = std::mismatch(in_cache.begin(), in_cache.end(), ids.begin(), ids.end() - 1);
  const bool alike = turns_alike(s.shortest, count, false) && turns_alike(s.longest, count, false);
  keep(s, alike ? static_cast<std::size_t>(same.second - ids.begin()) : 0);
  s.answer.clear();
  s.ended = Ended::kNot;
  s.forgotten = 0;
  fill(s, ids, count, input);
  SamplingOptions sampling = options_.sampling;
  sampling.seed += n;
  s.sampler.emplace(sampling, s.ids);
}

// Runs what `ids` hold beyond the sequence, which will be `length` tokens long, in blocks.
void Generator::fill(Sequence& s,
                     std::span<const std::int32_t> ids,
                     std::int64_t length,
                     const Tokens* input) {
  Sequence* const who[] = {&s};
  while (s.ids.size() < ids.size()) {
    const std::size_t at = s.ids.size();
    const auto part =
        ids.subspan(at, std::min(ids.size() - at, static_cast<std::size_t>(options_.block)));
    advance(who, row_of(part), length, at == 0 ? input : nullptr);
    s.ids.insert(s.ids.end(), part.begin(), part.end());
  }
}

// The positions are full: the beginning and the last tokens are read anew, but for the last token, which is yet to
// be run.
void Generator::slide(Sequence& s) {
  const auto first = static_cast<std::ptrdiff_t>(first_kept());
  const auto kept = static_cast<std::ptrdiff_t>(positions_ / 2);
  std::vector<std::int32_t> ids(s.ids.begin(), s.ids.begin() + first);
  ids.insert(ids.end(), s.ids.end() - (kept - first) - 1, s.ids.end() - 1);
  const std::int32_t last = s.ids.back();
  s.forgotten += static_cast<std::int64_t>(s.ids.size() - ids.size()) - 1;
  keep(s, 0);
  fill(s, ids, static_cast<std::int64_t>(ids.size()) + 1, nullptr);
  s.ids.push_back(last);
}

// The sequence grows past the length at which all of its keys turn otherwise: they are made anew.
void Generator::turn_anew(Sequence& s) {
  const std::int64_t length = s.cache.length() + 1;
  if (turns_alike(s.shortest, length, true)) return;
  std::vector<std::int32_t> ids(s.ids.begin(), s.ids.end() - 1);
  const std::int32_t last = s.ids.back();
  keep(s, 0);
  fill(s, ids, length, nullptr);
  s.ids.push_back(last);
}

// Runs the last token of every answer: those at once whose positions turn by the same angles.
void Generator::advance_together(std::vector<Sequence*> who) {
  while (!who.empty()) {
    const std::int64_t length = who.front()->cache.length() + 1;
    const auto others = std::stable_partition(who.begin(), who.end(), [&](const Sequence* s) {
      return turns_alike(length, s->cache.length() + 1, false);
    });
    const std::vector<Sequence*> now(who.begin(), others);
    Tensor column(DType::kI32, {static_cast<std::int64_t>(now.size()), 1});
    for (std::size_t n = 0; n < now.size(); ++n)
      column.span<std::int32_t>()[n] = now[n]->answer.back();
    advance(now, column, length);
    who.erase(who.begin(), others);
  }
}

// The token that follows, from the logits at hand; it is not run yet.
void Generator::take(Sequence& s) const {
  if (static_cast<std::int64_t>(s.answer.size()) >= options_.most) {
    s.ended = Ended::kMost;
    return;
  }
  const std::int32_t id = s.sampler->next(std::as_const(s.logits).span<float>());
  const auto& stops = model_->generation().stop_ids;
  if (options_.stop_at_end && std::find(stops.begin(), stops.end(), id) != stops.end()) {
    s.ended = Ended::kStop;
    return;
  }
  s.ids.push_back(id);
  s.answer.push_back(id);
}

bool Generator::step() {
  // A token is run when the next one is wanted: the last of an answer never is.
  std::vector<Sequence*> who;
  for (Sequence& s : sequences_) {
    if (s.logits.empty() || s.ended != Ended::kNot) continue;
    if (s.answer.empty()) continue;
    if (static_cast<std::int64_t>(s.answer.size()) >= options_.most) {
      s.ended = Ended::kMost;
    } else if (s.cache.length() >= positions_ && !options_.slide) {
      s.ended = Ended::kFull;
    } else {
      if (s.cache.length() >= positions_) slide(s);
      turn_anew(s);
      who.push_back(&s);
    }
  }
  advance_together(std::move(who));
  bool going = false;
  for (Sequence& s : sequences_) {
    if (s.logits.empty() || s.ended != Ended::kNot) continue;
    take(s);
    going = going || s.ended == Ended::kNot;
  }
  return going;
}

double Foresight::perplexity() const { return std::exp(nll); }

namespace {
// -ln p(id), summed in double from the largest logit down.
float surprise(std::span<const float> logits, std::int32_t id) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (float x : logits) sum += std::exp(static_cast<double>(x) - static_cast<double>(largest));
  return static_cast<float>(std::log(sum) + static_cast<double>(largest) -
                            static_cast<double>(logits[static_cast<std::size_t>(id)]));
}
}  // namespace

Foresight foresight(const Model& model,
                    std::span<const std::int32_t> ids,
                    const ForesightOptions& options) {
  if (ids.size() < 2) {
    throw Error(ErrorCode::kInput,
                fmt::format("[perplexity] expected at least two tokens, found {}", ids.size()));
  }
  const std::int64_t most = model.positions();
  const auto W =
      static_cast<std::size_t>(options.window > 0 ? std::min(options.window, most) : most);
  if (W < 2) {
    throw Error(
        ErrorCode::kUsage,
        fmt::format("[perplexity] expected windows of at least two tokens (the first of each is "
                    "not foreseen), found {}",
                    W));
  }
  Foresight out;
  double sum = 0.0;
  for (std::size_t first = 0; first + 1 < ids.size(); first += W) {
    const auto part = ids.subspan(first, std::min(W, ids.size() - first));
    if (part.size() < 2) break;
    KvCache cache = model.cache(options.cache, static_cast<std::int64_t>(part.size()));
    for (std::size_t at = 0; at + 1 < part.size();) {
      const std::size_t rows =
          std::min(part.size() - 1 - at, static_cast<std::size_t>(options.block));
      Tokens tokens;
      tokens.ids = row_of(part.subspan(at, rows));
      RunOptions how;
      how.edits.assign(options.edits.begin(), options.edits.end());
      how.caches = {&cache};
      how.final_length = static_cast<std::int64_t>(part.size());
      const Run run = model.run(tokens, how);
      const auto logits = run.logits.view<float, 3>();
      const auto V = static_cast<std::size_t>(logits.shape[2]);
      for (std::size_t i = 0; i < rows; ++i) {
        const std::span<const float> row(&logits(0, static_cast<std::int64_t>(i), 0), V);
        out.each.push_back(surprise(row, part[at + i + 1]));
        sum += static_cast<double>(out.each.back());
      }
      at += rows;
    }
  }
  out.tokens = static_cast<std::int64_t>(out.each.size());
  out.nll = sum / static_cast<double>(out.tokens);
  return out;
}

}  // namespace headscope
