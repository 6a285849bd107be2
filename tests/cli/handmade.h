#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "headscope/sighting.h"

/// A Sighting whose weights are written down by hand: keys are unit vectors and queries the
/// logarithms of the weights, so that the engine recomputes exactly these.
namespace headscope::cli::handmade {

using Matrix = std::vector<std::vector<float>>;

inline Label word_label(const std::string& text, std::int64_t begin, std::int64_t word) {
  return {text, begin, begin + static_cast<std::int64_t>(text.size()), word, false};
}

inline std::vector<Label> labels_of(const std::vector<std::string>& words) {
  std::vector<Label> out;
  std::int64_t at = 0;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const bool special = words[i].starts_with("[");
    if (special) {
      out.push_back({words[i], at, at, -1, true});
    } else {
      out.push_back(word_label(words[i], at, static_cast<std::int64_t>(i)));
      at += static_cast<std::int64_t>(words[i].size()) + 1;
    }
  }
  return out;
}

inline void put(Tensor& t, std::size_t at, double x) {
  t.span<float>()[at] = static_cast<float>(x);
}

/// One layer with these heads, [T,T] each.
inline FocusRecord record_of(const std::vector<Matrix>& heads) {
  const auto tokens = static_cast<std::int64_t>(heads.front().size());
  const auto count = static_cast<std::int64_t>(heads.size());
  FocusRecord r;
  r.batch = 1;
  r.query_heads = r.groups = count;
  r.rows = r.keys = r.width = tokens;
  const auto rows = [&] { return Tensor::zeros(DType::kF32, {1, count, tokens}); };
  r.lse = rows();
  r.entropy = rows();
  r.max_weight = rows();
  r.argmax = Tensor::zeros(DType::kI32, {1, count, tokens});
  r.distance_mean = rows();
  r.distance_var = rows();
  r.first_mass = rows();
  r.self_mass = rows();
  r.previous_mass = rows();
  r.q = Tensor::zeros(DType::kF32, {1, count, tokens, tokens});
  r.k = Tensor::zeros(DType::kF32, {1, count, tokens, tokens});
  r.options.scale = 1.0F;
  for (std::size_t h = 0; h < heads.size(); ++h) {
    r.heads.push_back(static_cast<int>(h));
    for (std::size_t i = 0; i < heads[h].size(); ++i) {
      const std::size_t at = h * heads[h].size() + i;
      double mean = 0.0;
      double square = 0.0;
      double entropy = 0.0;
      int best = 0;
      for (std::size_t j = 0; j < heads[h].size(); ++j) {
        const auto w = static_cast<double>(heads[h][i][j]);
        const double d = std::abs(static_cast<double>(i) - static_cast<double>(j));
        mean += w * d;
        square += w * d * d;
        if (w > 0.0) entropy -= w * std::log(w);
        if (heads[h][i][j] > heads[h][i][static_cast<std::size_t>(best)])
          best = static_cast<int>(j);
        put(r.q, at * heads[h].size() + j, w > 0.0 ? std::log(w) : -1000.0);
        put(r.k, (h * heads[h].size() + i) * heads[h].size() + j, i == j ? 1.0 : 0.0);
      }
      put(r.entropy, at, entropy);
      put(r.max_weight, at, static_cast<double>(heads[h][i][static_cast<std::size_t>(best)]));
      r.argmax.span<std::int32_t>()[at] = best;
      put(r.distance_mean, at, mean);
      put(r.distance_var, at, square - mean * mean);
      put(r.first_mass, at, static_cast<double>(heads[h][i][0]));
      put(r.self_mass, at, static_cast<double>(heads[h][i][i]));
      if (i > 0) put(r.previous_mass, at, static_cast<double>(heads[h][i][i - 1]));
    }
  }
  return r;
}

/// A head that gives `weight` to the token `offset` away and the rest to token 0 (which, where the
/// offset leads outside, gets it all).
inline Matrix offset_head(std::size_t tokens, int offset, float weight = 1.0F) {
  Matrix out(tokens, std::vector<float>(tokens, 0.0F));
  for (std::size_t i = 0; i < tokens; ++i) {
    const auto j = static_cast<std::int64_t>(i) + offset;
    const bool inside = j >= 0 && j < static_cast<std::int64_t>(tokens);
    if (inside) out[i][static_cast<std::size_t>(j)] += weight;
    out[i][0] += inside ? 1.0F - weight : 1.0F;
  }
  return out;
}

inline Sighting sighting_of(const std::vector<std::string>& words,
                            const std::vector<std::vector<Matrix>>& layers) {
  Sighting s;
  s.model = "handmade";
  for (const auto& word : words) {
    if (!word.starts_with("[")) s.text += (s.text.empty() ? "" : " ") + word;
  }
  s.labels = labels_of(words);
  for (const auto& heads : layers) s.layers.push_back(record_of(heads));
  return s;
}

}  // namespace headscope::cli::handmade
