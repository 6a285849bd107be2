#include "headscope/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
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

/// Weights of all tokens, not yet divided by their sum; 0 for those that a step took out.
struct Sampler::Weights {
  std::vector<double> of;
  double sum = 0.0;
};

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

// The last token that a step keeps, in the order of comes_before: all from it up stay. So tokens
// need not be sorted, and what is drawn does not depend on how the standard library partitions.
using Cut = Scored;

// Value of the k-th largest logit; equal ones stay, as in Transformers.
float kth_largest(std::vector<float> logits, std::size_t k) {
  const auto nth = logits.begin() + static_cast<std::ptrdiff_t>(k - 1);
  std::nth_element(logits.begin(), nth, logits.end(), std::greater<>());
  return *nth;
}

// The first token, from the likeliest on, with which the sum of weights reaches `share`. Halves
// what is left each time, so that all passes together are linear.
Cut nucleus(std::vector<Scored> tokens, float largest, double share) {
  const auto weight = [&](const Scored& t) {
    return std::exp(static_cast<double>(t.logit) - static_cast<double>(largest));
  };
  double above = 0.0;  // weight of tokens before `begin`
  auto begin = tokens.begin();
  auto end = tokens.end();
  while (end - begin > 1) {
    const auto middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end, comes_before);
    double sum = 0.0;
    for (auto token = begin; token != middle; ++token) sum += weight(*token);
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

Sampler::Weights Sampler::weigh(std::span<const float> logits) const {
  std::vector<float> scores;
  penalise(logits, scores);
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
  const auto k = static_cast<std::size_t>(options_.top_k);
  const float least = k > 0 && k < scores.size() ? kth_largest(scores, k) : kNever;
  std::vector<Scored> kept;
  double sum = 0.0;
  Weights weights;
  weights.of.assign(scores.size(), 0.0);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (scores[i] < least || scores[i] == kNever) continue;
    weights.of[i] = std::exp(static_cast<double>(scores[i]) - static_cast<double>(largest));
    sum += weights.of[i];
    if (options_.top_p < 1.0F) kept.push_back({scores[i], static_cast<std::int32_t>(i)});
  }
  if (options_.top_p < 1.0F) {
    const Cut cut = nucleus(std::move(kept), largest, sum * static_cast<double>(options_.top_p));
    for (std::size_t i = 0; i < scores.size(); ++i) {
      if (comes_before(cut, {scores[i], static_cast<std::int32_t>(i)})) weights.of[i] = 0.0;
    }
  }
  for (double& weight : weights.of) {
    if (weight < static_cast<double>(options_.min_p)) weight = 0.0;  // the largest is 1
    weights.sum += weight;
  }
  return weights;
}

std::int32_t Sampler::next(std::span<const float> logits) {
  std::int32_t id = 0;
  if (options_.temperature == 0.0F) {
    id = candidates(logits, 1).front().id;
  } else {
    const Weights weights = weigh(logits);
    double left = uniform(options_.seed, draws_++) * weights.sum;
    for (std::size_t i = 0; i < weights.of.size(); ++i) {
      if (weights.of[i] == 0.0) continue;
      id = static_cast<std::int32_t>(i);  // rounding may leave a little behind the last
      left -= weights.of[i];
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
  const Weights weights = weigh(logits);
  std::vector<Candidate> out;
  for (std::size_t i = 0; i < weights.of.size(); ++i) {
    if (weights.of[i] > 0.0)
      out.push_back({static_cast<std::int32_t>(i), weights.of[i] / weights.sum});
  }
  const auto end = out.begin() + static_cast<std::ptrdiff_t>(std::min(most, out.size()));
  std::partial_sort(out.begin(), end, out.end(), [](const Candidate& a, const Candidate& b) {
    return a.probability != b.probability ? a.probability > b.probability : a.id < b.id;
  });
  out.erase(end, out.end());
  return out;
}

}  // namespace headscope
