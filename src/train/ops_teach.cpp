// Taught heads: a loss on weights of attention themselves, -log of what a row gives to the columns that it should look
// at. Weights are made again from queries, keys and lse, for the taught rows alone.
// Source: Strubell 2018 s2.2 (one head learns to look at the syntactic parent).
#include <algorithm>
#include <cmath>

#include "headscope/threads.h"
#include "train/tape.h"

namespace headscope::train {

Seen seen_by(std::int64_t row, const Sequences& sequences, const FocusOptions& o) {
  const std::int32_t* cu = sequences.cu_seqlens.data;
  const std::int32_t* next = std::upper_bound(cu, cu + sequences.count() + 1, row);
  Seen seen{next[-1], next[0]};
  if (o.window_left >= 0) seen.first = std::max(seen.first, row - o.window_left);
  if (o.window_right >= 0) seen.last = std::min(seen.last, row + o.window_right + 1);
  if (o.causal) seen.last = std::min(seen.last, row + 1);
  return seen;
}

namespace {

float scale_of(const AttendPart& part) {
  return part.options.scale.value_or(1.0F / std::sqrt(static_cast<float>(part.width)));
}

float dot(const float* a, const float* b, std::int64_t n) {
  float sum = 0.0F;
  for (std::int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

/// The weights of a row, and what of them lies where it should.
struct Weights {
  Seen seen;
  std::vector<float> p;  // of seen columns
  double mass = 0.0;

  void of(const Look& look, const TaughtRows& rows, const AttendPart& part) {
    seen = seen_by(look.row, rows.sequences, part.options);
    const std::int64_t g = look.head / (part.heads / part.groups);
    const float* q = &rows.q(0, look.head, look.row, 0);
    const float lse = rows.lse(0, look.head, look.row);
    p.resize(static_cast<std::size_t>(seen.last - seen.first));
    mass = 0.0;
    const float scale = scale_of(part);
    for (std::int64_t j = seen.first; j < seen.last; ++j) {
      const float weight = std::exp(scale * dot(q, &rows.k(0, g, j, 0), part.width) - lse);
      p[static_cast<std::size_t>(j - seen.first)] = weight;
      if (j >= look.first && j <= look.last) mass += static_cast<double>(weight);
    }
    mass = std::max(mass, 1e-30);  // a weight of 0 still has a logarithm, and a way back
  }
};

}  // namespace

double taught_nats(const TaughtRows& rows, const AttendPart& part, std::span<const Look> looks) {
  Weights weights;
  double nats = 0.0;
  for (const Look& look : looks) {
    weights.of(look, rows, part);
    nats -= std::log(weights.mass);
  }
  return nats;
}

void teach_back(const TaughtRows& rows,
                const AttendPart& part,
                std::span<const Look> looks,
                float weight,
                const View<float, 4>& dq,
                const View<float, 4>& dk) {
  const std::int64_t share = part.heads / part.groups;
  const float factor = weight * scale_of(part);
  // Keys of one group are changed by one thread, in the order of the looks: the same bits for any number of threads.
  parallel_for(part.groups, [&](std::int64_t g) {
    Weights weights;
    for (const Look& look : looks) {
      if (look.head / share != g) continue;
      weights.of(look, rows, part);
      const float* q = &rows.q(0, look.head, look.row, 0);
      float* to_q = &dq(0, look.head, look.row, 0);
      for (std::int64_t j = weights.seen.first; j < weights.seen.last; ++j) {
        float slope = weights.p[static_cast<std::size_t>(j - weights.seen.first)];
        if (j >= look.first && j <= look.last) {
          slope -= static_cast<float>(static_cast<double>(slope) / weights.mass);
        }
        slope *= factor;
        const float* k = &rows.k(0, g, j, 0);
        float* to_k = &dk(0, g, j, 0);
        for (std::int64_t d = 0; d < part.width; ++d) {
          to_q[d] += slope * k[d];
          to_k[d] += slope * q[d];
        }
      }
    }
  });
}

}  // namespace headscope::train
