#include "headscope/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "headscope/error.h"

namespace headscope {

namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

void check(bool is_right, std::string_view name, std::string_view expected, double found) {
  if (is_right) return;
  throw Error(ErrorCode::kUsage,
              fmt::format("[sampler] expected {} {}, found {}", name, expected, found));
}

// SplitMix64 (Steele, Lea & Flood 2014): the n-th number is a function of n alone.
std::uint64_t mixed(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

// In [0, 1), 53 bits.
double uniform(std::uint64_t seed, std::uint64_t n) {
  constexpr std::uint64_t kStep = 0x9E3779B97F4A7C15U;
  return static_cast<double>(mixed(mixed(seed + kStep) + n * kStep) >> 11) * 0x1p-53;
}

struct Scored {
  float logit;
  std::int32_t id;
};

bool comes_before(const Scored& a, const Scored& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

}  // namespace

Sampler::Sampler(const SamplingOptions& options, std::span<const std::int32_t> prompt)
    : options_(options) {
  const SamplingOptions& o = options;
  const auto finite = [](float x) { return std::isfinite(x); };
  check(finite(o.repetition_penalty) && o.repetition_penalty > 0.0F,
        "repetition_penalty",
        "above 0",
        o.repetition_penalty);
  check(finite(o.frequency_penalty), "frequency_penalty", "as a number", o.frequency_penalty);
  check(finite(o.presence_penalty), "presence_penalty", "as a number", o.presence_penalty);
  check(
      finite(o.temperature) && o.temperature >= 0.0F, "temperature", "of 0 or more", o.temperature);
  check(o.top_k >= 0, "top_k", "of 0 or more", o.top_k);
  check(o.top_p > 0.0F && o.top_p <= 1.0F, "top_p", "above 0 and at most 1", o.top_p);
  check(o.min_p >= 0.0F && o.min_p <= 1.0F, "min_p", "from 0 to 1", o.min_p);
  for (const std::int32_t id : prompt) seen_.emplace(id, 0);
}

void Sampler::accept(std::int32_t id) { ++seen_[id]; }

// Logits with the penalties taken off.
void Sampler::penalise(std::span<const float> logits, std::vector<float>& out) const {
  out.assign(logits.begin(), logits.end());
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (out[i] < std::numeric_limits<float>::infinity()) continue;  // false for NaN, too
    throw Error(ErrorCode::kInput,
                fmt::format("[sampler] expected finite logits, found {} for token {}", out[i], i));
  }
  for (const auto& [id, times] : seen_) {
    if (id < 0 || static_cast<std::size_t>(id) >= out.size()) continue;
    float& logit = out[static_cast<std::size_t>(id)];
    if (logit == kNever) continue;
    logit =
        logit < 0.0F ? logit * options_.repetition_penalty : logit / options_.repetition_penalty;
    if (times > 0) {
      logit -= options_.frequency_penalty * static_cast<float>(times) + options_.presence_penalty;
    }
  }
}

namespace {

// exp(x) for x <= 0, to 2e-7 of its value: a loop over it has no calls, and its bits are the same
// with every C library.
float exp_of(float x) {
  constexpr float kLeast = -87.0F;         // below, 0
  constexpr float kToWhole = 12582912.0F;  // 1.5 * 2^23: adding it rounds to whole numbers
  const float bounded = x < kLeast ? kLeast : x;
  const float n = (bounded * 1.44269504F + kToWhole) - kToWhole;
  const float f = (bounded - n * 0.693359375F) + n * 2.12194440e-4F;  // ln 2 in two parts
  float p = 1.0F / 720.0F;
  p = p * f + 1.0F / 120.0F;
  p = p * f + 1.0F / 24.0F;
  p = p * f + 1.0F / 6.0F;
  p = p * f + 0.5F;
  p = p * f + 1.0F;
  p = p * f + 1.0F;
  const float scale = std::bit_cast<float>((static_cast<std::int32_t>(n) + 127) << 23);
  return x < kLeast ? 0.0F : p * scale;
}

double sum_of(std::span<const float> numbers) {
  std::array<double, 8> lanes{};
  const std::size_t whole = numbers.size() / lanes.size() * lanes.size();
  for (std::size_t i = 0; i < whole; i += lanes.size()) {
    for (std::size_t lane = 0; lane < lanes.size(); ++lane)
      lanes[lane] += static_cast<double>(numbers[i + lane]);
  }
  double sum = 0.0;
  for (const double lane : lanes) sum += lane;
  for (std::size_t i = whole; i < numbers.size(); ++i) sum += static_cast<double>(numbers[i]);
  return sum;
}

// Tokens by how far their score lies below the largest, an eighth of a nat a step, so that what
// decides about a step of sampling is looked for among the few of one shelf.
constexpr std::size_t kShelves = 256;

std::size_t shelf_of(float score, float largest) {
  const float place = (largest - score) * 8.0F;
  constexpr auto kLast = static_cast<float>(kShelves - 1);
  return static_cast<std::size_t>(place < kLast ? place : kLast);
}

std::vector<Scored> tokens_on(std::size_t shelf,
                              std::span<const float> scores,
                              std::span<const float> weights,
                              float largest) {
  std::vector<Scored> out;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (weights[i] > 0.0F && shelf_of(scores[i], largest) == shelf)
      out.push_back({scores[i], static_cast<std::int32_t>(i)});
  }
  return out;
}

// Value of the k-th largest score among those with a weight; -inf when there are fewer. Equal ones
// stay, as in Transformers.
float kth_largest(std::span<const float> scores,
                  std::span<const float> weights,
                  float largest,
                  std::size_t k) {
  std::array<std::size_t, kShelves> count{};
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (weights[i] > 0.0F) ++count[shelf_of(scores[i], largest)];
  }
  std::size_t shelf = 0;
  while (shelf < kShelves && k > count[shelf]) k -= count[shelf++];
  if (shelf == kShelves) return kNever;
  std::vector<Scored> tokens = tokens_on(shelf, scores, weights, largest);
  const auto nth = tokens.begin() + static_cast<std::ptrdiff_t>(k - 1);
  std::nth_element(tokens.begin(), nth, tokens.end(), comes_before);
  return nth->logit;
}

// The first token, from the likeliest on, with which the sum of weights reaches `share`. All from it
// up stay: in the order of comes_before, so that nothing depends on how tokens were partitioned.
Scored nucleus(std::span<const float> scores,
               std::span<const float> weights,
               float largest,
               double share) {
  std::array<double, kShelves> mass{};
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (weights[i] > 0.0F) mass[shelf_of(scores[i], largest)] += static_cast<double>(weights[i]);
  }
  std::size_t shelf = 0;
  double above = 0.0;  // weight of tokens before those looked at
  std::size_t last = 0;
  for (std::size_t i = 0; i < kShelves; ++i) last = mass[i] > 0.0 ? i : last;
  while (shelf < last && above + mass[shelf] < share) above += mass[shelf++];
  std::vector<Scored> tokens = tokens_on(shelf, scores, weights, largest);
  // Halves what is left each time, so that all passes together are linear.
  auto begin = tokens.begin();
  auto end = tokens.end();
  while (end - begin > 1) {
    const auto middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end, comes_before);
    double sum = 0.0;
    for (auto token = begin; token != middle; ++token)
      sum += static_cast<double>(weights[static_cast<std::size_t>(token->id)]);
    if (above + sum >= share) {
      end = middle;
    } else {
      above += sum;
      begin = middle;
    }
  }
  return *begin;
}

}  // namespace

void Sampler::weigh(std::span<const float> logits, Weights& out) const {
  penalise(logits, out.scores);
  const std::span<float> scores(out.scores);
  const float temperature = options_.temperature == 0.0F ? 1.0F : options_.temperature;
  float largest = kNever;
  for (float& score : scores) {
    score /= temperature;
    largest = std::max(largest, score);
  }
  if (!std::isfinite(largest)) {
    throw Error(ErrorCode::kInput,
                fmt::format("[sampler] expected a token that can be drawn, found largest logit {}",
                            largest));
  }
  out.of.resize(scores.size());
  const std::span<float> weights(out.of);
  for (std::size_t i = 0; i < scores.size(); ++i) weights[i] = exp_of(scores[i] - largest);
  const auto k = static_cast<std::size_t>(options_.top_k);
  if (k > 0 && k < scores.size()) {
    const float least = kth_largest(scores, weights, largest, k);
    for (std::size_t i = 0; i < scores.size(); ++i)
      weights[i] = scores[i] < least ? 0.0F : weights[i];
  }
  if (options_.top_p < 1.0F) {
    const double share = sum_of(weights) * static_cast<double>(options_.top_p);
    const Scored cut = nucleus(scores, weights, largest, share);
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const bool below = scores[i] < cut.logit ||
                         (scores[i] == cut.logit && static_cast<std::int32_t>(i) > cut.id);
      weights[i] = below ? 0.0F : weights[i];
    }
  }
  for (float& weight : weights) weight = weight < options_.min_p ? 0.0F : weight;  // largest: 1
  out.sum = sum_of(weights);
}

std::int32_t Sampler::next(std::span<const float> logits) {
  std::int32_t id = 0;
  if (options_.temperature == 0.0F) {
    id = candidates(logits, 1).front().id;
  } else {
    weigh(logits, scratch_);
    double left = uniform(options_.seed, draws_++) * scratch_.sum;
    for (std::size_t i = 0; i < scratch_.of.size(); ++i) {
      if (scratch_.of[i] == 0.0F) continue;
      id = static_cast<std::int32_t>(i);  // rounding may leave a little behind the last
      left -= static_cast<double>(scratch_.of[i]);
      if (left < 0.0) break;
    }
  }
  accept(id);
  return id;
}

std::vector<Candidate> Sampler::candidates(std::span<const float> logits, std::size_t most) const {
  if (options_.temperature == 0.0F) {
    std::vector<float> scores;
    penalise(logits, scores);
    const auto best = std::max_element(scores.begin(), scores.end());
    if (best == scores.end() || *best == kNever) {
      throw Error(ErrorCode::kInput,
                  "[sampler] expected a token that can be drawn, found no finite logit");
    }
    return {{static_cast<std::int32_t>(best - scores.begin()), 1.0}};
  }
  Weights weights;
  weigh(logits, weights);
  std::vector<Candidate> out;
  for (std::size_t i = 0; i < weights.of.size(); ++i) {
    if (weights.of[i] > 0.0F) {
      out.push_back(
          {static_cast<std::int32_t>(i), static_cast<double>(weights.of[i]) / weights.sum});
    }
  }
  const auto end = out.begin() + static_cast<std::ptrdiff_t>(std::min(most, out.size()));
  std::partial_sort(out.begin(), end, out.end(), [](const Candidate& a, const Candidate& b) {
    return a.probability != b.probability ? a.probability > b.probability : a.id < b.id;
  });
  out.erase(end, out.end());
  return out;
}

}  // namespace headscope
