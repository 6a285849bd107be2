#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "doctor/check.h"
#include "doctor/damage.h"
#include "doctor/prune.h"
#include "formats/scratch.h"
#include "headscope/threads.h"
#include "kernels/isa.h"
#include "models/network.h"

/// What is true of the heads of every model, whatever it learned: held against shipped and against real ones.
namespace headscope::doctor::laws {

inline double largest(const Tensor& t) {
  double out = 0.0;
  for (const float x : t.span<float>()) out = std::max(out, std::abs(static_cast<double>(x)));
  return out;
}

// Largest difference over the largest number.
inline double apart(const Tensor& a, const Tensor& b) {
  double out = 0.0;
  const auto x = a.span<float>(), y = b.span<float>();
  EXPECT_EQ(x.size(), y.size());
  for (std::size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
    const double d = std::abs(static_cast<double>(x[i]) - static_cast<double>(y[i]));
    if (!(d <= out)) out = d;  // a NaN stays
  }
  return out / largest(b);
}

inline headscope::Run look(const Model& model, const Tokens& tokens) {
  static const Sight everything = Sight::everything();
  RunOptions options;
  options.sight = &everything;
  return model.run(tokens, options);
}

/// 1: shares of the heads and the bias sum to what the layer's attention gives. f32 sums of H*Dv products.
inline void shares_sum_to_the_output(const Model& model, const Tokens& tokens) {
  RunOptions options;
  for (int l = 0; l < model.layers(); ++l) options.trace_layers.push_back(l);
  const headscope::Run run = model.run(tokens, options);
  for (int l = 0; l < model.layers(); ++l)
    EXPECT_LE(contributions(model, l, run.traces[static_cast<std::size_t>(l)]).error, 1e-5) << l;
}

// How far rounding moves weights of a row, relatively: scores are sums of D products no larger than |q| |k|.
inline double rounding(const FocusRecord& record, int head, std::int64_t row) {
  const std::int64_t D = record.width, group = head / (record.query_heads / record.groups);
  const auto length = [&](const Tensor& t, std::int64_t at) {
    double sum = 0.0;
    for (const float x :
         t.span<float>().subspan(static_cast<std::size_t>(at * D), static_cast<std::size_t>(D)))
      sum += static_cast<double>(x) * static_cast<double>(x);
    return std::sqrt(sum);
  };
  double key = 0.0;
  for (std::int64_t j = 0; j < record.keys; ++j)
    key = std::max(key, length(record.k, group * record.keys + j));
  const double D_ = static_cast<double>(D);
  const double scale = record.options.scale ? double{*record.options.scale} : 1.0 / std::sqrt(D_);
  return 1e-6 + std::sqrt(D_) * 0x1p-23 * scale * key *
                    length(record.q, record.slot(head) * record.rows + row);
}

/// 2: rows sum to 1, and what was recorded on the way is what the whole map says.
inline void statistics_are_those_of_the_map(const Model& model, const Tokens& tokens) {
  const headscope::Run run = look(model, tokens);
  for (int l = 0; l < model.layers(); ++l) {
    const FocusRecord& record = run.sighting.layers[static_cast<std::size_t>(l)];
    const auto T = static_cast<double>(record.keys);
    std::vector<float> row(static_cast<std::size_t>(record.keys));
    for (const int h : record.heads) {
      const HeadId id{l, h};
      SCOPED_TRACE(id.name());
      const auto first = static_cast<std::size_t>(record.slot(h) * record.rows);
      std::vector<double> columns(row.size(), 0.0);
      double worst = 0.0;
      for (std::int64_t i = 0; i < record.rows; ++i) {
        record.row(0, h, i, row);
        double sum = 0.0, entropy = 0.0, distance = 0.0;
        for (std::size_t j = 0; j < row.size(); ++j) {
          const auto w = static_cast<double>(row[j]);
          sum += w, columns[j] += w;
          if (w > 0.0) entropy -= w * std::log(w);
          distance += w * std::abs(static_cast<double>(i) - static_cast<double>(j));
        }
        const double off = rounding(record, h, i);
        worst = std::max(worst, off);
        const auto at = first + static_cast<std::size_t>(i);
        const auto near = [&](const Tensor& recorded, double of_map, double size) {
          EXPECT_NEAR(recorded.span<float>()[at], of_map, off * size);
        };
        EXPECT_NEAR(sum, 1.0, off);
        near(record.entropy, entropy, 2.0 + std::log(T));
        near(record.distance_mean, distance, T);
        near(record.max_weight, double{*std::max_element(row.begin(), row.end())}, 1.0);
        near(record.first_mass, double{row[0]}, 1.0);
        near(record.self_mass, double{row[static_cast<std::size_t>(i)]}, 1.0);
        if (i > 0) near(record.previous_mass, double{row[static_cast<std::size_t>(i - 1)]}, 1.0);
        if (testing::Test::HasFailure()) return;
      }
      const auto mass = record.column_mass.span<float>().subspan(
          static_cast<std::size_t>(record.slot(h) * record.keys), row.size());
      for (std::size_t j = 0; j < row.size(); ++j)
        EXPECT_NEAR(mass[j], columns[j], worst * static_cast<double>(record.rows)) << j;
    }
  }
}

/// 3: a model that was written without some heads gives what the whole one gives with them edited.
inline void pruned_is_ablated(const Model& model,
                              const Tokens& tokens,
                              Instead instead,
                              double tolerance) {
  const Baseline base(model, copy_of(tokens));
  Curve curve;
  RunOptions options;
  const std::vector<HeadId> heads = heads_of(model);
  for (std::size_t i = 1; i < heads.size(); i += 3) {
    const Tensor found = base.findings(heads[i]);
    const std::int64_t rows = found.dim(0), width = found.dim(1);
    Tensor mean = Tensor::zeros(DType::kF32, {width});
    for (std::int64_t n = 0; n < rows * width; ++n)
      mean.span<float>()[static_cast<std::size_t>(n % width)] +=
          found.span<float>()[static_cast<std::size_t>(n)] / static_cast<float>(rows);
    // The mean of the whole model's run: what a head would say on average behind edited layers is another.
    Edit edit;
    edit.layer = heads[i].layer, edit.head = heads[i].head;
    if (instead == Instead::kMean) {
      Tensor rows_of_it(DType::kF32, {rows, width});
      for (std::int64_t n = 0; n < rows; ++n)
        std::ranges::copy(mean.span<float>(), rows_of_it.span<float>().begin() + n * width);
      edit.kind = Edit::Kind::kReplace;
      edit.replacement = std::make_shared<const Tensor>(std::move(rows_of_it));
    }
    options.edits.push_back(edit);
    curve.order.push_back(heads[i]);
    curve.means.push_back(std::move(mean));
  }
  const Scratch scratch;
  write_pruned(model, curve, curve.order.size(), instead, scratch / "smaller");
  const Model smaller = Model::load((scratch / "smaller").string());
  const Tensor found = std::move(smaller.run(tokens).last_hidden_state);
  EXPECT_LE(apart(found, model.run(tokens, options).last_hidden_state), tolerance);
  EXPECT_GT(apart(found, model.run(tokens).last_hidden_state), 1e-2);  // they did something
}

/// 5: one corrupted head is the first that the search names, with the healthy model beside it.
inline void corrupted_head_is_named_first(const std::string& name,
                                          const Model& healthy,
                                          const Tokens& tokens,
                                          std::span<const HeadId> heads) {
  for (const HeadId head : heads) {
    for (const Damage damage : {Damage::kNoise, Damage::kFrozen, Damage::kSwapped, Damage::kNan}) {
      SCOPED_TRACE(head.name() + " damage " + std::to_string(static_cast<int>(damage)));
      std::mt19937_64 random(7);
      LoadOptions options;
      options.change = [&](models::Tensors& tensors) {
        harm(tensors, healthy.network().blueprint(), head, damage, head.head, random);
      };
      const std::vector<Tokens> texts = [&] {
        std::vector<Tokens> out;
        out.push_back(copy_of(tokens));
        return out;
      }();
      const Checkup found = check(Model::load(name, options), healthy, texts);
      ASSERT_FALSE(found.suspects.empty());
      EXPECT_EQ(found.suspects.front().head.name(), head.name());
      EXPECT_GT(found.suspects.front().score, 0.9);
      EXPECT_EQ(found.suspects.front().reason == Reason::kNotFinite, damage == Damage::kNan);
    }
  }
}

/// 6: any number of threads gives the same bits; every instruction set the same figures to rounding.
inline void threads_and_sets_agree(const std::string& name,
                                   const Tokens& tokens,
                                   double tolerance) {
  struct Threads {
    explicit Threads(int n) : before(threads()) { set_threads(n); }
    ~Threads() { set_threads(before); }
    int before;
  };
  const auto figures = [&](int n) {
    const Threads chosen(n);
    return look(Model::load(name), tokens);
  };
  const headscope::Run one = figures(1);
  const auto equal = [](const Tensor& a, const Tensor& b) {
    return std::ranges::equal(a.span<float>(), b.span<float>());
  };
  for (const int n : {2, 5}) {
    const headscope::Run other = figures(n);
    EXPECT_TRUE(equal(other.last_hidden_state, one.last_hidden_state)) << n;
    for (std::size_t l = 0; l < one.sighting.layers.size(); ++l) {
      EXPECT_TRUE(equal(other.sighting.layers[l].entropy, one.sighting.layers[l].entropy)) << l;
      EXPECT_TRUE(equal(other.sighting.layers[l].lse, one.sighting.layers[l].lse)) << l;
    }
  }
  struct Automatic {
    ~Automatic() { kernels::use("auto"); }
  } const afterwards;
  for (const kernels::Table* table : kernels::tables()) {
    kernels::use(table->name);
    const headscope::Run other = figures(2);
    EXPECT_LE(apart(other.last_hidden_state, one.last_hidden_state), tolerance) << table->name;
    for (std::size_t l = 0; l < one.sighting.layers.size(); ++l)
      EXPECT_LE(apart(other.sighting.layers[l].entropy, one.sighting.layers[l].entropy), tolerance)
          << table->name << ' ' << l;
  }
}

}  // namespace headscope::doctor::laws
