#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "attention/random_call.h"
#include "headscope/linear.h"

namespace headscope {
namespace {

using testing_support::noise;

// A layer with random weights: H heads on G, C wide.
struct Layer {
  std::int64_t H = 6, G = 3, D = 8, Dv = 4, C = 20, B = 2, T = 15;
  Tensor qkv, bias, out_weight, out_bias, x;
  AttentionWeights weights;

  Layer() {
    std::mt19937 generator(11);
    qkv = noise({(H + G) * D + G * Dv, C}, generator, 0.5F);
    bias = noise({(H + G) * D + G * Dv}, generator);
    out_weight = noise({C, H * Dv}, generator);
    out_bias = noise({C}, generator);
    x = noise({B, T, C}, generator);
    weights = {{std::make_shared<const Linear>(qkv.any(), bias.any())},
               std::make_shared<const Linear>(out_weight.any(), out_bias.any()),
               H,
               G,
               D,
               Dv};
  }
  Tensor run(std::vector<Edit> edits = {},
             AttentionTrace* trace = nullptr,
             View<const std::uint8_t, 2> rows = {}) const {
    Tensor out(DType::kF32, {B, T, C});
    AttentionCall call;
    call.edits = edits;
    call.trace = trace;
    call.rows = rows;
    attention(weights, x.view<float, 3>(), out.view<float, 3>(), call);
    return out;
  }
  static Edit edit(int head, Edit::Kind kind) {
    Edit e;
    e.head = head;
    e.kind = kind;
    return e;
  }
};

double worst(const Tensor& a, const Tensor& b) {
  double most = 0.0;
  for (std::size_t i = 0; i < a.span<float>().size(); ++i) {
    most = std::max(most, std::abs(double{a.span<float>()[i]} - double{b.span<float>()[i]}));
  }
  return most;
}

// Law 1: what the heads found, each through its slice of W_O, sums up to the output.
TEST(Attention, SharesOfHeadsSumToTheOutput) {
  const Layer layer;
  AttentionTrace trace;
  const Tensor out = layer.run({}, &trace);
  const auto z = trace.z.view<float, 4>();
  for (std::int64_t b = 0; b < layer.B; ++b) {
    for (std::int64_t i = 0; i < layer.T; ++i) {
      for (std::int64_t c = 0; c < layer.C; ++c) {
        double sum = double{layer.out_bias.span<float>()[static_cast<std::size_t>(c)]};
        for (std::int64_t h = 0; h < layer.H; ++h) {
          for (std::int64_t d = 0; d < layer.Dv; ++d) {
            sum += double{z(b, h, i, d)} *
                   double{layer.out_weight.view<float, 2>()(c, h * layer.Dv + d)};
          }
        }
        EXPECT_NEAR(sum, (out.view<float, 3>()(b, i, c)), 2e-5);
      }
    }
  }
}

TEST(Attention, TraceHoldsTheNumbersOfEveryStep) {
  const Layer layer;
  AttentionTrace trace;
  layer.run({}, &trace);
  EXPECT_EQ(trace.q.shape(), (Shape{2, 6, 15, 8}));
  EXPECT_EQ(trace.k.shape(), (Shape{2, 3, 15, 8}));
  EXPECT_EQ(trace.v.shape(), (Shape{2, 3, 15, 4}));
  Tensor expected(DType::kF32, {30, (6 + 3) * 8 + 3 * 4});
  Linear::reference(layer.qkv.any(),
                    layer.bias.any(),
                    Linear::Layout::kOutIn,
                    View<const float, 2>(layer.x.span<float>().data(), {30, 20}),
                    expected.view<float, 2>());
  for (std::int64_t i = 0; i < 15; ++i) {
    EXPECT_NEAR((trace.q.view<float, 4>()(1, 5, i, 7)),
                (expected.view<float, 2>()(15 + i, 5 * 8 + 7)),
                1e-5);
    EXPECT_NEAR(
        (trace.k.view<float, 4>()(1, 2, i, 0)), (expected.view<float, 2>()(15 + i, 48 + 16)), 1e-5);
    EXPECT_NEAR(
        (trace.v.view<float, 4>()(1, 2, i, 3)), (expected.view<float, 2>()(15 + i, 72 + 11)), 1e-5);
  }
  EXPECT_EQ(std::memcmp(trace.x.raw(), layer.x.raw(), layer.x.bytes()), 0);
}

// Law 3: a head set to zero is a head whose slice of W_O is zero.
TEST(Merge, ZeroEqualsACutSliceOfTheOutputWeight) {
  Layer layer;
  const Tensor zeroed = layer.run({Layer::edit(2, Edit::Kind::kZero)});
  for (std::int64_t c = 0; c < layer.C; ++c) {
    for (std::int64_t d = 0; d < layer.Dv; ++d)
      layer.out_weight.view<float, 2>()(c, 2 * layer.Dv + d) = 0.0F;
  }
  layer.weights.output =
      std::make_shared<const Linear>(layer.out_weight.any(), layer.out_bias.any());
  EXPECT_LE(worst(zeroed, layer.run()), 1e-5);
}

// Law 3: a mean folds into b_O. With one sequence the mean is one vector.
TEST(Merge, MeanFoldsIntoTheBias) {
  Layer layer;
  layer.B = 1;
  layer.x = Tensor::copy_of({DType::kF32, {1, layer.T, layer.C}, layer.x.raw()});
  AttentionTrace trace;
  layer.run({}, &trace);
  const Tensor meaned = layer.run({Layer::edit(4, Edit::Kind::kMean)});
  for (std::int64_t c = 0; c < layer.C; ++c) {
    for (std::int64_t d = 0; d < layer.Dv; ++d) {
      double mean = 0.0;
      for (std::int64_t i = 0; i < layer.T; ++i)
        mean += double{trace.z.view<float, 4>()(0, 4, i, d)} / static_cast<double>(layer.T);
      float& w = layer.out_weight.view<float, 2>()(c, 4 * layer.Dv + d);
      layer.out_bias.span<float>()[static_cast<std::size_t>(c)] += static_cast<float>(mean) * w;
      w = 0.0F;
    }
  }
  layer.weights.output =
      std::make_shared<const Linear>(layer.out_weight.any(), layer.out_bias.any());
  EXPECT_LE(worst(meaned, layer.run()), 1e-5);
}

TEST(Merge, MeanLeavesOutRowsThatDoNotCount) {
  const Layer layer;
  Tensor counts = Tensor::zeros(DType::kU8, {layer.B, layer.T});
  counts.span<std::uint8_t>()[3] = 1;  // only row 3 of the first sequence
  AttentionTrace trace;
  AttentionTrace edited;
  layer.run({}, &trace);
  layer.run({Layer::edit(1, Edit::Kind::kMean)}, &edited, counts.view<std::uint8_t, 2>());
  for (std::int64_t d = 0; d < layer.Dv; ++d) {
    EXPECT_EQ((edited.merged.view<float, 3>()(0, 9, layer.Dv + d)),
              (trace.z.view<float, 4>()(0, 1, 3, d)));
    EXPECT_EQ((edited.merged.view<float, 3>()(1, 9, layer.Dv + d)), 0.0F);
  }
}

TEST(Merge, ScaleAndReplaceChangeTheChosenRowsOnly) {
  const Layer layer;
  AttentionTrace plain;
  layer.run({}, &plain);
  Edit scale = Layer::edit(0, Edit::Kind::kScale);
  scale.factor = -2.0F;
  scale.rows = {4};
  Edit replace = Layer::edit(5, Edit::Kind::kReplace);
  std::mt19937 generator(2);
  const auto other = std::make_shared<const Tensor>(noise({layer.T, layer.Dv}, generator));
  replace.replacement = other;
  AttentionTrace trace;
  layer.run({scale, replace}, &trace);
  const auto merged = trace.merged.view<float, 3>();
  const auto z = plain.z.view<float, 4>();
  for (std::int64_t i = 0; i < layer.T; ++i) {
    for (std::int64_t d = 0; d < layer.Dv; ++d) {
      EXPECT_EQ(merged(1, i, d), z(1, 0, i, d) * (i == 4 ? -2.0F : 1.0F));
      EXPECT_EQ(merged(1, i, 5 * layer.Dv + d), (other->view<float, 2>()(i, d)));
      EXPECT_EQ(merged(1, i, 2 * layer.Dv + d), z(1, 2, i, d));
    }
  }
}

TEST(Merge, AnEditThatNamesNoHeadOrRowIsRefused) {
  const Layer layer;
  EXPECT_THROW(layer.run({Layer::edit(6, Edit::Kind::kZero)}), Error);
  EXPECT_THROW(layer.run({Layer::edit(-1, Edit::Kind::kZero)}), Error);
  Edit edit = Layer::edit(0, Edit::Kind::kZero);
  edit.rows = {15};
  EXPECT_THROW(layer.run({edit}), Error);
  EXPECT_THROW(layer.run({Layer::edit(0, Edit::Kind::kReplace)}), Error);
}

TEST(Split, MovesNoNumber) {
  const Layer layer;
  Tensor qkv = Tensor::zeros(DType::kF32, {2, 15, 84});
  const Slices s = split(layer.weights, qkv.view<float, 3>());
  EXPECT_EQ(s.q.data, qkv.span<float>().data());
  EXPECT_EQ(s.k.data, s.q.data + 48);
  EXPECT_EQ(s.v.data, s.q.data + 72);
  EXPECT_EQ(&s.v(1, 2, 14, 3), qkv.span<float>().data() + qkv.size() - 1);
}

TEST(Merge, HeadsThatDoNotDivideTheWidthAreRefused) {
  Tensor merged = Tensor::zeros(DType::kF32, {1, 2, 6});
  EXPECT_THROW(as_heads(merged.view<float, 3>(), 0), Error);
  EXPECT_THROW(as_heads(merged.view<float, 3>(), 4), Error);
  EXPECT_THROW(merge(merged.view<float, 3>(), 0, {}), Error);
}

TEST(Attention, ABadEditIsFoundBeforeAnythingIsWritten) {
  const Layer layer;
  AttentionTrace trace;
  EXPECT_THROW(layer.run({Layer::edit(6, Edit::Kind::kZero)}, &trace), Error);
  EXPECT_TRUE(trace.x.empty());
}

}  // namespace
}  // namespace headscope
