#include "cli/compare.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "cli/verify.h"

namespace headscope::cli {
namespace {

Tensor tensor(const Shape& shape, float value) {
  Tensor out(DType::kF32, shape);
  for (float& x : out.span<float>()) x = value;
  return out;
}

Tensor mask_of(const std::vector<std::uint8_t>& row) {
  Tensor out(DType::kU8, {1, static_cast<std::int64_t>(row.size())});
  std::copy(row.begin(), row.end(), out.span<std::uint8_t>().begin());
  return out;
}

const Allowance kNoise{1e-6, {}};

TEST(Compare, EqualTensorsAgreeAndOthersDoNot) {
  const Tensor reference = tensor({1, 3, 4}, 2.0F);
  Tensor ours = tensor({1, 3, 4}, 2.0F);
  EXPECT_TRUE(compare("last_hidden_state", reference.any(), ours, {}, kNoise).ok);
  ours.span<float>()[5] += 1e-3F;
  const Compared off = compare("last_hidden_state", reference.any(), ours, {}, kNoise);
  EXPECT_FALSE(off.ok);
  EXPECT_NEAR(off.error, 1e-3, 1e-6);
  EXPECT_NEAR(off.relative, 5e-4, 1e-6);
  EXPECT_TRUE(compare("last_hidden_state", reference.any(), ours, {}, {1e-6, 0.01}).ok);
}

TEST(Compare, NanAnywhereIsOff) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const std::size_t at : {0U, 5U, 11U}) {
    Tensor bad = tensor({1, 3, 4}, 1.0F);
    bad.span<float>()[at] = nan;
    const Tensor good = tensor({1, 3, 4}, 1.0F);
    const Compared ours = compare("logits", good.any(), bad, {}, {{}, 1e9});
    EXPECT_FALSE(ours.ok);
    EXPECT_TRUE(std::isnan(ours.error));
    EXPECT_FALSE(compare("logits", bad.any(), good, {}, {{}, 1e9}).ok);
    EXPECT_FALSE(compare("logits", bad.any(), bad, {}, {{}, 1e9}).ok);
  }
}

TEST(Compare, PaddedTokensAreLeftOut) {
  const Tensor mask = mask_of({1, 1, 0});
  const Tensor reference = tensor({1, 3, 2}, 1.0F);
  Tensor ours = tensor({1, 3, 2}, 1.0F);
  ours.span<float>()[5] = 99.0F;
  EXPECT_TRUE(compare("hidden_states.0", reference.any(), ours, mask, kNoise).ok);
  ours.span<float>()[3] = 99.0F;
  EXPECT_FALSE(compare("hidden_states.0", reference.any(), ours, mask, kNoise).ok);
  EXPECT_FALSE(
      compare("hidden_states.0", reference.any(), reference, mask_of({0, 0, 0}), kNoise).ok)
      << "nothing compared is no agreement";
}

TEST(Compare, AMaskedKeyMustGetExactlyNothing) {
  const Tensor mask = mask_of({1, 0});
  Tensor reference = tensor({1, 1, 2, 2}, 0.0F);
  reference.span<float>()[0] = 1.0F;  // Row 0 looks at key 0; row 1 is padding.
  reference.span<float>()[2] = 0.5F;
  Tensor ours = tensor({1, 1, 2, 2}, 0.0F);
  ours.span<float>()[0] = 1.0F;
  EXPECT_TRUE(compare("attentions.0", reference.any(), ours, mask, kNoise).ok);
  ours.span<float>()[1] = 1e-30F;
  const Compared leak = compare("attentions.0", reference.any(), ours, mask, kNoise);
  EXPECT_FALSE(leak.ok);
  EXPECT_EQ(leak.problem, "leak");
}

TEST(Compare, MissingAndMisshapenTensorsAreOff) {
  const Tensor reference = tensor({1, 3, 4}, 1.0F);
  EXPECT_EQ(compare("router_logits.0", reference.any(), {}, {}, kNoise).problem, "missing");
  const Compared other = compare("logits", reference.any(), tensor({1, 4, 3}, 1.0F), {}, kNoise);
  EXPECT_FALSE(other.ok);
  EXPECT_EQ(other.problem, "[1,4,3]");
}

TEST(Compare, TolerancesFollowTheReferencesOwnRounding) {
  EXPECT_EQ(tolerance_for("attentions.3", 1.0, {1e-3, {}}), 1e-5);
  EXPECT_EQ(tolerance_for("logits", 1.0, {1e-7, {}}), 1e-5);
  EXPECT_EQ(tolerance_for("logits", 1.0, {1e-5, {}}), 20 * 1e-5);
  EXPECT_EQ(tolerance_for("logits", 50.0, {}), 1e-3);
  EXPECT_EQ(tolerance_for("attentions.3", 1.0, {1e-3, 0.5}), 0.5);
}

TEST(Compare, VerdictTablesFitEightyColumns) {
  Verdict verdict;
  verdict.folder = "some/where/bert";
  verdict.config = "config.json";
  verdict.model_class = "BertForSequenceClassification";
  verdict.allowance = kNoise;
  verdict.tensors = {
      {"attentions.0", {2, 4, 13, 13}, 1e-7, 1e-7, 1e-5, true, ""},
      {"last_hidden_state", {2, 13, 32}, NAN, NAN, 1e-5, false, "leak"},
      {"a.very.long.name.of.a.tensor.nobody.knows", {}, NAN, NAN, 0.0, false, "missing"}};
  Verdict failed;
  failed.folder = "gpt2/";
  failed.config = "config.json";
  failed.error =
      "[config.json] expected model_type to be one of bert, distilbert, roberta, found \"gpt2\"";
  for (const Lang lang : {Lang::kEn, Lang::kRu}) {
    const Screen screen{lang, false, false, 80};
    const std::string out = render_verdict(screen, verdict) + render_verdict(screen, failed) +
                            render_summary(screen, {verdict, failed});
    std::size_t begin = 0;
    for (std::size_t end; (end = out.find('\n', begin)) != std::string::npos; begin = end + 1) {
      EXPECT_LE(columns(out.substr(begin, end - begin)), 80) << out.substr(begin, end - begin);
    }
  }
  EXPECT_EQ(verdict.agreeing(), 1U);
  EXPECT_FALSE(verdict.ok());
}

}  // namespace
}  // namespace headscope::cli
