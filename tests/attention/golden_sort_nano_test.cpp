// models/sort-nano: a trained GPT that sorts six letters, with every intermediate of its forward
// pass (llm-viz): the oracle of the five steps.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "golden/golden.h"
#include "headscope/attention.h"
#include "headscope/linear.h"
#include "headscope/safetensors.h"
#include "kernels/isa.h"

namespace headscope {
namespace {

using nlohmann::json;

std::vector<unsigned char> base64(const std::string& text) {
  constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<unsigned char> bytes;
  std::uint32_t bits = 0;
  int have = 0;
  for (char c : text) {
    const auto at = kLetters.find(c);
    if (at == std::string_view::npos) continue;
    bits = (bits << 6) | static_cast<std::uint32_t>(at);
    if ((have += 6) < 8) continue;
    have -= 8;
    bytes.push_back(static_cast<unsigned char>((bits >> have) & 0xFFU));
  }
  return bytes;
}

// {"shape": [...], "data": base64 of f32}
Tensor tensor(const json& file, const std::string& name) {
  const json& one = file.at(name);
  Tensor t(DType::kF32, one.at("shape").get<Shape>());
  const auto bytes = base64(one.at("data").get<std::string>());
  if (bytes.size() != t.bytes())
    throw Error(ErrorCode::kFormat, "[sort-nano] " + name + " has another size");
  std::memcpy(t.raw(), bytes.data(), bytes.size());
  return t;
}

double worst(const Tensor& found, const Tensor& expected) {
  EXPECT_EQ(found.size(), expected.size());
  double most = 0.0;
  for (std::size_t i = 0; i < expected.span<float>().size(); ++i) {
    most = std::max(most,
                    std::abs(double{found.span<float>()[i]} - double{expected.span<float>()[i]}));
  }
  return most;
}

class SortNano : public testing::Test {
 protected:
  void SetUp() override {
    const auto folder = golden::models_dir() / "sort-nano";
    if (!std::filesystem::exists(folder))
      GTEST_SKIP() << "no " << folder << ": sort-nano is not here";
    weights = json::parse(read_file(folder / "gpt-nano-sort-model.json"));
    partials = json::parse(read_file(folder / "gpt-nano-sort-t0-partials.json"));
  }

  Tensor norm(const Tensor& x, const std::string& name) const {
    Tensor y(DType::kF32, x.shape());
    const Tensor w = tensor(weights, name + ".weight");
    const Tensor b = tensor(weights, name + ".bias");
    const std::int64_t C = x.shape().back();
    for (std::int64_t i = 0; i < x.size() / C; ++i) {
      kernels::table().layer_norm(x.span<float>().data() + i * C,
                                  w.span<float>().data(),
                                  b.span<float>().data(),
                                  1e-5F,
                                  C,
                                  y.span<float>().data() + i * C);
    }
    return y;
  }

  Tensor linear(const Tensor& x, const std::string& name) const {
    const Tensor w = tensor(weights, name + ".weight");
    const std::string bias = name + ".bias";
    const Tensor b = weights.contains(bias) ? tensor(weights, bias) : Tensor();
    Shape shape = x.shape();
    shape.back() = w.dim(0);
    Tensor y(DType::kF32, shape);
    const std::int64_t rows = x.size() / x.shape().back();
    Linear(w.any(), b.empty() ? AnyView{} : b.any())(
        View<const float, 2>(x.span<float>().data(), {rows, w.dim(1)}),
        View<float, 2>(y.span<float>().data(), {rows, w.dim(0)}));
    return y;
  }

  AttentionWeights attention_of(const std::string& block) const {
    AttentionWeights w;
    const Tensor qkv = tensor(weights, block + "attn.c_attn.weight");
    const Tensor qkv_bias = tensor(weights, block + "attn.c_attn.bias");
    const Tensor out = tensor(weights, block + "attn.c_proj.weight");
    const Tensor out_bias = tensor(weights, block + "attn.c_proj.bias");
    w.qkv = {std::make_shared<const Linear>(qkv.any(), qkv_bias.any())};
    w.output = std::make_shared<const Linear>(out.any(), out_bias.any());
    w.heads = w.groups = 3;
    w.width = w.value_width = 16;
    return w;
  }

  static Tensor sum(const Tensor& a, const Tensor& b) {
    Tensor y = a.clone();
    for (std::size_t i = 0; i < y.span<float>().size(); ++i)
      y.span<float>()[i] += b.span<float>()[i];
    return y;
  }

  json weights, partials;
};

TEST_F(SortNano, EveryIntermediateOfTheFiveSteps) {
  const Tensor x = norm(tensor(partials, "x"), "transformer.h.0.ln_1");
  EXPECT_LE(worst(x, tensor(partials, "ln1")), 1e-5);
  const AttentionWeights w = attention_of("transformer.h.0.");
  const std::int64_t B = x.dim(0);
  const std::int64_t T = x.dim(1);

  Tensor qkv(DType::kF32, {B, T, 144});
  project(w, x.view<float, 3>(), qkv.view<float, 3>());
  EXPECT_LE(worst(qkv, tensor(partials, "qkv")), 2e-5);

  const Slices s = split(w, qkv.view<float, 3>());
  const auto same = [&](const View<const float, 4>& found, const char* name) {
    const Tensor want = tensor(partials, name);
    const auto expected = want.view<float, 4>();
    for (std::int64_t b = 0; b < B; ++b) {
      for (std::int64_t h = 0; h < 3; ++h) {
        for (std::int64_t i = 0; i < T; ++i) {
          for (std::int64_t d = 0; d < 16; ++d)
            ASSERT_NEAR(found(b, h, i, d), expected(b, h, i, d), 2e-5) << name;
        }
      }
    }
  };
  same(s.q, "q");
  same(s.k, "k");
  same(s.v, "v");

  const Tensor softmax = tensor(partials, "attSm");
  const Tensor scores = tensor(partials, "att");
  for (const kernels::Table* table : kernels::tables()) {
    kernels::use(table->name);
    Tensor merged(DType::kF32, {B, T, 48});
    FocusRecord record;
    FocusOptions options;
    options.causal = true;
    const Sight sight = Sight::everything();
    focus({s.q, s.k, s.v, options}, {as_heads(merged.view<float, 3>(), 3), {}}, &sight, &record);
    std::vector<float> row(static_cast<std::size_t>(T));
    for (std::int64_t b = 0; b < B; ++b) {
      for (int h = 0; h < 3; ++h) {
        for (std::int64_t i = 0; i < T; ++i) {
          record.row(b, h, i, row);
          for (std::int64_t j = 0; j < T; ++j) {
            ASSERT_NEAR(
                row[static_cast<std::size_t>(j)], (softmax.view<float, 4>()(b, h, i, j)), 1e-5);
            if (j > i) continue;
            // ln w + lse is the score.
            const float score =
                std::log(row[static_cast<std::size_t>(j)]) + record.lse.view<float, 3>()(b, h, i);
            ASSERT_NEAR(score, (scores.view<float, 4>()(b, h, i, j)), 2e-4);
          }
        }
      }
    }
    merge(merged.view<float, 3>(), 3, {});
    EXPECT_LE(worst(merged, tensor(partials, "y")), 1e-5) << table->name;
    Tensor out(DType::kF32, {B, T, 48});
    output(w, std::as_const(merged).view<float, 3>(), out.view<float, 3>());
    EXPECT_LE(worst(out, tensor(partials, "yProj")), 2e-5) << table->name;
  }
  kernels::use("auto");
}

TEST_F(SortNano, TheWholeModelSorts) {
  Tensor x = tensor(partials, "x");
  for (int n = 0; n < 3; ++n) {
    const std::string block = "transformer.h." + std::to_string(n) + ".";
    const Tensor normed = norm(x, block + "ln_1");
    Tensor found(DType::kF32, x.shape());
    AttentionCall call;
    call.options.causal = true;
    attention(attention_of(block), normed.view<float, 3>(), found.view<float, 3>(), call);
    x = sum(x, found);
    Tensor hidden = linear(norm(x, block + "ln_2"), block + "mlp.c_fc");
    kernels::table().activate(
        kernels::Activation::kGeluTanh, hidden.span<float>().data(), hidden.size());
    x = sum(x, linear(hidden, block + "mlp.c_proj"));
    EXPECT_LE(worst(x, tensor(partials, "block" + std::to_string(n))), 1e-4) << "block " << n;
  }
  const Tensor logits = linear(norm(x, "transformer.ln_f"), "lm_head");
  EXPECT_LE(worst(logits, tensor(partials, "lm_head")), 5e-4);
}

}  // namespace
}  // namespace headscope
