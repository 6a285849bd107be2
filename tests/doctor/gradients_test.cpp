// Gradients of heads against finite differences of the same heads' gates, on every kind of decoder the tape knows.
#include "doctor/gradients.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "doctor/patch.h"
#include "formats/files.h"
#include "formats/scratch.h"
#include "models/gguf_convert.h"
#include "models/tiny_decoder.h"
#include "train/tiny.h"

namespace headscope::doctor {
namespace {

Tokens tokens_of(std::initializer_list<int> ids) {
  Tokens out;
  out.ids = Tensor(DType::kI32, {1, static_cast<std::int64_t>(ids.size())});
  std::copy(ids.begin(), ids.end(), out.ids.span<std::int32_t>().begin());
  return out;
}

Judge choice(int right, int wrong) {
  Judge by;
  by.kind = Judge::Kind::kChoice;
  by.right = right;
  by.wrong = wrong;
  return by;
}

// (f(1 + e) - f(1 - e)) / 2e of every head's gate, by full runs.
std::vector<double> gates_by_differences(const Baseline& base, const Judge& by) {
  constexpr float kStep = 1.0F / 64;
  std::vector<Edit> edits = edit_every_head(base, Edit::Kind::kScale);
  const std::size_t H = edits.size();
  edits.insert(edits.end(), edits.begin(), edits.begin() + static_cast<std::ptrdiff_t>(H));
  for (std::size_t i = 0; i < edits.size(); ++i) edits[i].factor = 1.0F + (i < H ? kStep : -kStep);
  const std::vector<double> found = sweep_plainly(base, edits, by);
  std::vector<double> out;
  for (std::size_t i = 0; i < H; ++i)
    out.push_back((found[i] - found[H + i]) / (2.0 * static_cast<double>(kStep)));
  return out;
}

void expect_gates(const Model& model, const std::string& name) {
  Gradients gradients(model);
  const Baseline base(model, tokens_of({3, 7, 1, 30, 3, 12, 9}));
  for (const Judge& by : {Judge(), choice(5, 11)}) {
    const std::vector<double> want = gates_by_differences(base, by);
    const std::vector<double> silent =
        foretell(base, gradients.of(base, by), edit_every_head(base, Edit::Kind::kZero));
    ASSERT_EQ(silent.size(), want.size()) << name;
    double most = 0.0;
    for (const double x : want) most = std::max(most, std::abs(x));
    EXPECT_GT(most, 1e-3) << name;
    // Differences of f32 runs: rounding 1e-6 over the step, and the third derivative times its square.
    for (std::size_t i = 0; i < want.size(); ++i)
      EXPECT_NEAR(-silent[i], want[i], 2e-4 + 2e-3 * most) << name << ", head " << i;
  }
}

TEST(Gradients, AreTheSlopesOfGatesInEveryFamily) {
  for (const char* name : {"llama", "llama_tied_biased", "mistral", "qwen2", "gpt2"}) {
    const Scratch scratch;
    train::Trainee::fresh(train::testing::config_of(name), 5).save(scratch.path());
    expect_gates(Model::load(scratch.path().string()), name);
  }
}

TEST(Gradients, OfAGgufFileAreThoseOfItsFolder) {
  const test::TinyDecoder folder;
  const Scratch scratch;
  models::convert_to_gguf(folder.folder().path(), scratch / "tiny.gguf", DType::kF32);
  const Model model = Model::load((scratch / "tiny.gguf").string());
  expect_gates(model, "gguf");
  EXPECT_THROW(train::Trainee::of(model).save(scratch / "saved"), Error);
}

TEST(Gradients, ForetellPatchesAsFarAsTheyAreSmall) {
  const test::TinyDecoder folder;
  const Model model = folder.load();
  Gradients gradients(model);
  const Baseline clean(model, tokens_of({3, 7, 1, 30, 3, 12}));
  const Baseline corrupt(model, tokens_of({3, 8, 1, 30, 3, 12}));
  const Judge by = choice(5, 11);
  const std::vector<Tensor> slopes = gradients.of(corrupt, by);
  for (const Patch what : {Patch::kFindings, Patch::kQuery, Patch::kKey, Patch::kValue}) {
    const Patching found = patch(clean, corrupt, what, by, {.slopes = &slopes});
    std::vector<double> estimates, exact;
    for (const Patched& one : found.heads) {
      estimates.push_back(one.foretold.value());
      exact.push_back(one.restored);
    }
    const Agreement both = agreement(estimates, exact);
    EXPECT_GT(both.correlation, 0.5);
    // Only so many exactly: the same numbers, and none for the others.
    const Patching few = patch(clean, corrupt, what, by, {.slopes = &slopes, .exact = 3});
    int done = 0;
    for (std::size_t i = 0; i < few.heads.size(); ++i) {
      if (std::isnan(few.heads[i].restored)) continue;
      ++done;
      EXPECT_NEAR(few.heads[i].restored, found.heads[i].restored, 1e-5);
    }
    EXPECT_EQ(done, 3);
    EXPECT_GT(both.largest, 0.0);
  }
  // A hundredth of the way the estimate is right to the square of it.
  const auto way = [&](float part) {
    std::vector<Edit> edits = edit_every_head(corrupt, Edit::Kind::kReplace, &clean);
    for (Edit& edit : edits) {
      const Tensor own = corrupt.findings({edit.layer, edit.head});
      auto moved = std::make_shared<Tensor>(edit.replacement->clone());
      for (std::size_t i = 0; i < own.span<float>().size(); ++i) {
        float& x = moved->span<float>()[i];
        x = own.span<float>()[i] + part * (x - own.span<float>()[i]);
      }
      edit.replacement = std::move(moved);
    }
    const double base = judge(corrupt, by);
    std::vector<double> exact = sweep(corrupt, edits, by);
    for (double& x : exact) x = (x - base) / double{part};
    std::vector<double> estimate = foretell(corrupt, slopes, edits);
    for (double& x : estimate) x /= double{part};
    return agreement(estimate, exact).largest;
  };
  EXPECT_LT(way(0.01F), 2e-3 + 0.05 * way(1.0F));
}

TEST(Gradients, RefuseWhatTheyCannotFollow) {
  const test::TinyDecoder folder;
  const Model model = folder.load();
  Gradients gradients(model);
  Judge likeness;
  likeness.kind = Judge::Kind::kEmbedding;
  const Baseline base(model, tokens_of({3, 7, 1}));
  EXPECT_THROW((void)gradients.of(base, likeness), Error);
  EXPECT_THROW((void)gradients.of(base, choice(5, 40)), Error);
  EXPECT_THROW((void)gradients.of(Baseline(model, tokens_of({3})), Judge()), Error);
  const Scratch scratch;
  train::Trainee::fresh(train::testing::config_of("bert"), 5).save(scratch.path());
  EXPECT_THROW(Gradients(Model::load(scratch.path().string())), Error);
}

TEST(Agreement, IsPearsonAndTheWorstHead) {
  const std::vector<double> x{1.0, 2.0, 3.0}, y{2.0, 4.0, 6.5};
  const Agreement found = agreement(x, y);
  EXPECT_NEAR(found.correlation, 4.5 / std::sqrt(2.0 * 61.0 / 6.0), 1e-12);
  EXPECT_EQ(found.at, 2U);
  EXPECT_NEAR(found.largest, 3.5, 1e-12);
  EXPECT_EQ(agreement(x, std::vector<double>(3, 1.0)).correlation, 0.0);
}

}  // namespace
}  // namespace headscope::doctor
