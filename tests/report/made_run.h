#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "report/report_data.h"

/// Runs made by hand: random q and k, everything else computed here in double, independently of the
/// engine.
namespace headscope::report {

/// Sizes and options of a made run. T tokens ask, `keys` are asked (0: as many).
struct Made {
  int layers = 2;
  int heads = 4;
  int groups = 4;
  std::int64_t tokens = 12;
  std::int64_t keys = 0;
  std::int64_t width = 8;
  std::int64_t batch = 1;
  FocusOptions options = {};  ///< views are filled in by the flags below
  bool mask = false, bias = false, slopes = false, sinks = false;
  bool walk = true;
};

/// A sighting and a trace that stay alive as long as this does.
struct MadeRun {
  Sighting sighting;
  AttentionTrace trace;
  Tensor output_weight, output_bias;
  Page page;
};

inline Tensor random_tensor(std::mt19937& random, const Shape& shape, float size = 1.0F) {
  std::normal_distribution<float> normal(0.0F, size);
  Tensor out(DType::kF32, shape);
  for (float& x : out.span<float>()) x = normal(random);
  return out;
}

/// Score of a cell, -inf where the row may not look: the definition in attention.h, word by word.
inline double score(const FocusRecord& r, std::int64_t slot, std::int64_t i, std::int64_t j) {
  const FocusOptions& o = r.options;
  const int head = r.heads[static_cast<std::size_t>(slot)];
  const std::int64_t group = head / (r.query_heads / r.groups);
  const std::int64_t p = i + query_offset(o, r.rows, r.keys);
  const bool seen = (!o.causal || j <= p || j < o.prefix) &&
                    (o.window_left < 0 || j >= p - o.window_left) &&
                    (o.window_right < 0 || j <= p + o.window_right) &&
                    (o.key_mask.data == nullptr || o.key_mask(0, j) != 0);
  if (!seen) return -std::numeric_limits<double>::infinity();
  const auto q = r.q.view<float, 4>();
  const auto k = r.k.view<float, 4>();
  double s = 0.0;
  for (std::int64_t d = 0; d < r.width; ++d) {
    s += static_cast<double>(q(0, slot, i, d)) * static_cast<double>(k(0, group, j, d));
  }
  s *= static_cast<double>(o.scale.value_or(1.0F / std::sqrt(static_cast<float>(r.width))));
  const auto cap = static_cast<double>(o.softcap);
  if (cap > 0.0) s = cap * std::tanh(s / cap);
  if (o.slopes.data != nullptr) {
    s -= static_cast<double>(o.slopes(head)) * static_cast<double>(std::abs(p - j));
  }
  if (o.bias.data != nullptr) s += static_cast<double>(o.bias(0, 0, i, j));
  return s;
}

/// Fills lse and the statistics of a record from its q and k.
inline void measure(FocusRecord& r) {
  const auto slots = static_cast<std::int64_t>(r.heads.size());
  const Shape per_row{r.batch, slots, r.rows};
  for (Tensor* t : {&r.lse, &r.entropy, &r.max_weight, &r.distance_mean, &r.first_mass}) {
    *t = Tensor::zeros(DType::kF32, per_row);
  }
  r.column_mass = Tensor::zeros(DType::kF32, {r.batch, slots, r.keys});
  const std::int64_t offset = query_offset(r.options, r.rows, r.keys);
  for (std::int64_t h = 0; h < slots; ++h) {
    for (std::int64_t i = 0; i < r.rows; ++i) {
      std::vector<double> s;
      double sum = 0.0;
      for (std::int64_t j = 0; j < r.keys; ++j) sum += std::exp(s.emplace_back(score(r, h, i, j)));
      const auto head = static_cast<std::int64_t>(r.heads[static_cast<std::size_t>(h)]);
      if (r.options.sinks.data != nullptr) {
        sum += std::exp(static_cast<double>(r.options.sinks(head)));
      }
      const double lse = std::log(sum);
      r.lse.view<float, 3>()(0, h, i) = static_cast<float>(lse);
      for (std::int64_t j = 0; j < r.keys; ++j) {
        const double w = sum > 0.0 ? std::exp(s[static_cast<std::size_t>(j)] - lse) : 0.0;
        const auto add = [&](Tensor& t, double x) {
          t.view<float, 3>()(0, h, i) += static_cast<float>(x);
        };
        if (w > 0.0) add(r.entropy, -w * std::log(w));
        add(r.distance_mean, w * static_cast<double>(std::abs(i + offset - j)));
        if (j == 0) add(r.first_mass, w);
        auto& most = r.max_weight.view<float, 3>()(0, h, i);
        most = std::max(most, static_cast<float>(w));
        r.column_mass.view<float, 3>()(0, h, j) += static_cast<float>(w);
      }
    }
  }
}

/// Views of the options point to tensors that the record owns.
inline void set_options(FocusRecord& r, const Made& made, std::mt19937& random) {
  r.options = made.options;
  const auto own = [&](Tensor tensor) {
    r.owned.push_back(std::make_shared<const Tensor>(std::move(tensor)));
    return r.owned.back();
  };
  if (made.mask) {
    Tensor mask(DType::kU8, {r.batch, r.keys});
    for (std::size_t i = 0; i < mask.span<std::uint8_t>().size(); ++i) {
      mask.span<std::uint8_t>()[i] = i % 5 != 3;
    }
    r.options.key_mask = own(std::move(mask))->view<std::uint8_t, 2>();
  }
  if (made.bias) {
    Tensor bias = random_tensor(random, {1, 1, r.rows, r.keys});
    bias.span<float>()[1] = -std::numeric_limits<float>::infinity();
    r.options.bias = own(std::move(bias))->view<float, 4>();
  }
  if (made.slopes) r.options.slopes = own(random_tensor(random, {made.heads}))->view<float, 1>();
  if (made.sinks) r.options.sinks = own(random_tensor(random, {made.heads}))->view<float, 1>();
}

inline std::vector<Label> made_labels(std::int64_t count) {
  static const std::vector<std::string> kWords{
      "the", "king", "gave", "##s", "a", "sharp", "</script>", "sword", "меч", "\"quoted\""};
  std::vector<Label> labels;
  for (std::int64_t t = 0; t < count; ++t) {
    Label label;
    label.special = t == 0 || t == count - 1;
    label.text = label.special ? (t == 0 ? "[CLS]" : "[SEP]")
                               : kWords[static_cast<std::size_t>(t) % kWords.size()];
    const bool piece = label.text.starts_with("##");
    label.word = label.special ? -1 : piece ? labels.back().word : t;
    labels.push_back(label);
  }
  return labels;
}

/// A trace whose output is the sum over heads, computed in double. Batch 1.
inline void make_trace(MadeRun& run, const Made& made, std::mt19937& random) {
  const FocusRecord& r = run.sighting.layers[0];
  const std::int64_t inner = made.heads * made.width;
  AttentionTrace& t = run.trace;
  t.x = random_tensor(random, {1, r.rows, inner});
  t.q = r.q.clone();
  t.k = r.k.clone();
  t.v = random_tensor(random, {1, made.groups, r.keys, made.width});
  t.z = Tensor::zeros(DType::kF32, {1, made.heads, r.rows, made.width});
  t.merged = Tensor::zeros(DType::kF32, {1, r.rows, inner});
  t.out = Tensor::zeros(DType::kF32, {1, r.rows, inner});
  t.lse = r.lse.clone();
  run.output_weight = random_tensor(random, {inner, inner}, 0.3F);
  run.output_bias = random_tensor(random, {inner});
  const auto v = t.v.view<float, 4>();
  for (std::int64_t i = 0; i < r.rows; ++i) {
    for (std::int64_t h = 0; h < made.heads; ++h) {
      for (std::int64_t d = 0; d < made.width; ++d) {
        double z = 0.0;
        for (std::int64_t j = 0; j < r.keys; ++j) {
          const double w = std::exp(score(r, h, i, j) - t.lse.view<float, 3>()(0, h, i));
          z += w * static_cast<double>(v(0, h / (made.heads / made.groups), j, d));
        }
        t.z.view<float, 4>()(0, h, i, d) = static_cast<float>(z);
        t.merged.view<float, 3>()(0, i, h * made.width + d) = static_cast<float>(z);
      }
    }
    for (std::int64_t c = 0; c < inner; ++c) {
      double sum = static_cast<double>(run.output_bias.span<float>()[static_cast<std::size_t>(c)]);
      for (std::int64_t d = 0; d < inner; ++d) {
        sum += static_cast<double>(t.merged.view<float, 3>()(0, i, d)) *
               static_cast<double>(run.output_weight.view<float, 2>()(c, d));
      }
      t.out.view<float, 3>()(0, i, c) = static_cast<float>(sum);
    }
  }
}

/// Everything a page needs. `run.page` borrows from `run`: do not move it afterwards.
inline std::unique_ptr<MadeRun> make_run(const Made& made, unsigned seed = 1) {
  std::mt19937 random(seed);
  auto run = std::make_unique<MadeRun>();
  run->sighting.model = "made";
  run->sighting.text = "the king gaves a sharp </script><script>alert(1)</script> sword";
  const std::int64_t keys = made.keys == 0 ? made.tokens : made.keys;
  run->sighting.labels = made_labels(keys);
  for (int l = 0; l < made.layers; ++l) {
    FocusRecord r;
    r.batch = made.batch;
    r.query_heads = made.heads;
    r.groups = made.groups;
    r.rows = made.tokens;
    r.keys = keys;
    r.width = made.width;
    for (int h = 0; h < made.heads; ++h) r.heads.push_back(h);
    r.q = random_tensor(random, {r.batch, made.heads, r.rows, r.width}, 1.5F);
    r.k = random_tensor(random, {r.batch, made.groups, r.keys, r.width}, 1.5F);
    set_options(r, made, random);
    measure(r);
    run->sighting.layers.push_back(std::move(r));
  }
  run->page.model = "made <b>by hand</b>";
  run->page.layers = made.layers;
  run->page.heads = made.heads;
  run->page.width = made.heads * made.width;
  run->page.sighting = &run->sighting;
  if (made.walk) {
    make_trace(*run, made, random);
    run->page.walks.push_back({0, &run->trace, &run->output_weight, &run->output_bias, 2.5e-7});
  }
  return run;
}

}  // namespace headscope::report
