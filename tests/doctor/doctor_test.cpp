// The doctor on a small random model: whatever it takes a short cut for must be what a full run gives.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "doctor/attribution.h"
#include "doctor/baseline.h"
#include "doctor/eigen.h"
#include "doctor/measures.h"
#include "doctor/patch.h"
#include "doctor/prune.h"
#include "models/tiny_decoder.h"

namespace headscope::doctor {
namespace {

Tokens tokens_of(std::initializer_list<int> ids) {
  Tokens out;
  out.ids = Tensor(DType::kI32, {1, static_cast<std::int64_t>(ids.size())});
  std::copy(ids.begin(), ids.end(), out.ids.span<std::int32_t>().begin());
  return out;
}

const Model& tiny() {
  static const test::TinyDecoder folder;
  static const Model model = folder.load();
  return model;
}

Judge choice(int right, int wrong) {
  Judge by;
  by.kind = Judge::Kind::kChoice;
  by.right = right;
  by.wrong = wrong;
  return by;
}

TEST(Eigenvalues, OfTriangularRotationAndCompanionMatrices) {
  const double third = std::acos(-1.0) / 3;
  const std::vector<double> turn{
      std::cos(third), -std::sin(third), std::sin(third), std::cos(third)};
  for (const auto& value : eigenvalues(turn, 2)) {
    EXPECT_NEAR(std::abs(value), 1.0, 1e-14);
    EXPECT_NEAR(value.real(), 0.5, 1e-14);
  }
  // x^4 = 1: four on the unit circle, where shifts go round in circles.
  const std::vector<double> cycle{0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0};
  std::complex<double> sum = 0.0;
  for (const auto& value : eigenvalues(cycle, 4)) {
    EXPECT_NEAR(std::abs(value), 1.0, 1e-13);
    EXPECT_NEAR(std::abs(value * value * value * value - 1.0), 0.0, 1e-12);
    sum += value;
  }
  EXPECT_NEAR(std::abs(sum), 0.0, 1e-13);
  EXPECT_TRUE(eigenvalues(std::vector<double>(9, 0.0), 3)[1] == 0.0);
  EXPECT_THROW((void)eigenvalues(std::vector<double>{std::nan("")}, 1), Error);
}

// Sums of powers of eigenvalues are traces of powers of the matrix.
TEST(Eigenvalues, PowerSumsAreTracesOfRandomMatrices) {
  std::mt19937 random(7);
  std::normal_distribution<double> normal;
  for (const std::size_t n : {1U, 3U, 16U, 64U}) {
    std::vector<double> a(n * n);
    for (double& x : a) x = normal(random) / std::sqrt(static_cast<double>(n));
    std::vector<double> square(n * n, 0.0);
    double trace = 0.0, trace2 = 0.0, trace3 = 0.0;
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t k = 0; k < n; ++k) {
        for (std::size_t j = 0; j < n; ++j) square[i * n + j] += a[i * n + k] * a[k * n + j];
      }
      trace += a[i * n + i];
    }
    for (std::size_t i = 0; i < n; ++i) {
      trace2 += square[i * n + i];
      for (std::size_t k = 0; k < n; ++k) trace3 += square[i * n + k] * a[k * n + i];
    }
    std::complex<double> one = 0.0, two = 0.0, three = 0.0;
    for (const auto& value : eigenvalues(a, n)) {
      one += value;
      two += value * value;
      three += value * value * value;
    }
    const double near = 1e-12 * static_cast<double>(n);
    EXPECT_NEAR(one.real(), trace, near);
    EXPECT_NEAR(two.real(), trace2, near);
    EXPECT_NEAR(three.real(), trace3, near);
    EXPECT_NEAR(one.imag() + two.imag() + three.imag(), 0.0, 3 * near);
  }
}

TEST(Baseline, StreamsAreThoseOfAWholeRun) {
  const Baseline base(tiny(), tokens_of({3, 7, 1, 30, 3, 12}));
  RunOptions options;
  options.hidden_states = true;
  options.trace_layers = {0, 1};
  const headscope::Run run = tiny().run(tokens_of({3, 7, 1, 30, 3, 12}), options);
  for (int l = 0; l < 2; ++l) {
    const auto at = static_cast<std::size_t>(l);
    for (const auto& [ours, theirs] : {std::pair{&base.stream(l), &run.hidden_states[at]},
                                       std::pair{&base.attended(l), &run.traces[at].out},
                                       std::pair{&base.merged(l), &run.traces[at].merged}}) {
      ASSERT_EQ(ours->shape(), theirs->shape());
      EXPECT_TRUE(std::equal(
          ours->span<float>().begin(), ours->span<float>().end(), theirs->span<float>().begin()));
    }
  }
}

TEST(Baseline, RefusesWhatItCannotKeep) {
  Tokens two;
  two.ids = Tensor::zeros(DType::kI32, {2, 3});
  EXPECT_THROW(Baseline(tiny(), std::move(two)), Error);
  const Tensor wrong = Tensor::zeros(DType::kF32, {1, 3, 8});
  Resume resume;
  resume.layer = 1;
  resume.x = &wrong;
  RunOptions options;
  options.resume = &resume;
  EXPECT_THROW((void)tiny().run(tokens_of({1, 2, 3}), options), Error);
  resume.x = nullptr;
  EXPECT_THROW((void)tiny().run(tokens_of({1, 2, 3}), options), Error);
  resume.layer = 3;
  EXPECT_THROW((void)tiny().run(tokens_of({1, 2, 3}), options), Error);
}

// The short cut must not change a number: every kind of edit, every judge, also when edits go up in small groups.
TEST(Sweep, IsWhatFullRunsGive) {
  const Baseline base(tiny(), tokens_of({3, 7, 1, 30, 3, 12, 9}));
  const Baseline other(tiny(), tokens_of({4, 8, 1, 31, 5, 13, 9}));
  Judge embedding;
  embedding.kind = Judge::Kind::kEmbedding;
  for (const Judge& by : {Judge(), choice(5, 11), embedding}) {
    for (const auto kind : {Edit::Kind::kZero, Edit::Kind::kMean, Edit::Kind::kReplace}) {
      std::vector<Edit> edits = edit_every_head(base, kind, &other);
      std::rotate(edits.begin(), edits.begin() + 3, edits.end());  // order does not matter
      const auto plain = sweep_plainly(base, edits, by);
      for (const std::int64_t rows : {1, 20, 8192}) {
        const auto fast = sweep(base, edits, by, {}, rows);
        ASSERT_EQ(fast.size(), plain.size());
        for (std::size_t i = 0; i < fast.size(); ++i) EXPECT_NEAR(fast[i], plain[i], 5e-6) << i;
      }
      const auto all = std::minmax_element(plain.begin(), plain.end());
      EXPECT_GT(*all.second - *all.first, 1e-4);  // the edits did something
    }
  }
}

TEST(Sweep, LossIsTheForesightOfTheModel) {
  const Tokens tokens = tokens_of({3, 7, 1, 30, 3, 12, 9});
  const Baseline base(tiny(), tokens_of({3, 7, 1, 30, 3, 12, 9}));
  const headscope::Run run = tiny().run(tokens);
  const auto logits = run.logits.view<float, 3>();
  double sum = 0.0;
  for (std::int64_t i = 0; i + 1 < 7; ++i) {
    double total = 0.0;
    for (std::int64_t v = 0; v < 40; ++v) total += std::exp(static_cast<double>(logits(0, i, v)));
    const auto next = tokens.ids.span<std::int32_t>()[static_cast<std::size_t>(i) + 1];
    sum += std::log(total) - static_cast<double>(logits(0, i, next));
  }
  EXPECT_NEAR(judge(base, Judge()), sum / 6, 2e-6);
}

TEST(Attribution, PartsAddUpToTheDifference) {
  const Baseline base(tiny(), tokens_of({3, 7, 1, 30, 3, 12, 9}));
  const auto found = attribute(base, 5, 11);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->heads.size(), 8U);
  EXPECT_GT(std::abs(found->difference), 1e-3);
  EXPECT_NEAR(found->rest, 0.0, 1e-5 * std::max(1.0, std::abs(found->difference)));
  // A head that is silenced in the last layer takes its share away, up to what the norm divides by.
  const auto zeroed = sweep(base, edit_every_head(base, Edit::Kind::kZero), choice(5, 11));
  EXPECT_NE(zeroed[7], found->difference);
  EXPECT_THROW((void)attribute(base, 5, 40), Error);
}

TEST(EditParts, ChangeWhatFocusReads) {
  const Baseline clean(tiny(), tokens_of({3, 7, 1, 30, 3, 12}));
  const Baseline corrupt(tiny(), tokens_of({3, 8, 1, 31, 3, 12}));
  const AttentionTrace a = clean.trace(1);
  const AttentionTrace b = corrupt.trace(1);
  using Part = Edit::Part;
  for (const Part part : {Part::kQuery, Part::kKey, Part::kValue}) {
    const Tensor& from = part == Part::kQuery ? a.q : part == Part::kKey ? a.k : a.v;
    std::vector<Edit> edits;
    for (std::int64_t h = 0; h < from.dim(1); ++h) {
      auto own = std::make_shared<Tensor>(DType::kF32, Shape{from.dim(2), from.dim(3)});
      std::copy_n(&from.view<float, 4>()(0, h, 0, 0), own->size(), own->span<float>().begin());
      Edit edit;
      edit.layer = 1;
      edit.head = static_cast<int>(h);
      edit.kind = Edit::Kind::kReplace;
      edit.part = part;
      edit.replacement = std::move(own);
      edits.push_back(std::move(edit));
    }
    Tensor want(DType::kF32, b.z.shape());
    FocusInput in{(part == Part::kQuery ? a : b).q.view<float, 4>(),
                  (part == Part::kKey ? a : b).k.view<float, 4>(),
                  (part == Part::kValue ? a : b).v.view<float, 4>(),
                  {}};
    in.options.causal = true;
    focus_reference(in, {want.view<float, 4>(), {}});
    const AttentionTrace found = corrupt.trace(1, edits);
    for (std::size_t i = 0; i < want.span<float>().size(); ++i)
      EXPECT_NEAR(found.z.span<float>()[i], want.span<float>()[i], 1e-5F);
    // A cache has read keys and values before; that is said.
    KvCache cache = tiny().cache();
    RunOptions options;
    options.caches = {&cache};
    options.edits = edits;
    EXPECT_THROW((void)tiny().run(tokens_of({3, 8, 1, 31, 3, 12}), options), Error);
    edits.front().head = 99;
    EXPECT_THROW((void)corrupt.trace(1, edits), Error);
  }
}

TEST(Patch, EveryHeadAtOnceRestoresEverything) {
  const Baseline clean(tiny(), tokens_of({3, 7, 1, 30, 3, 12}));
  const Baseline corrupt(tiny(), tokens_of({3, 8, 1, 30, 3, 12}));
  const Judge by = choice(5, 11);
  const Patching found = patch(clean, corrupt, Patch::kFindings, by);
  ASSERT_EQ(found.heads.size(), 8U);
  // The same by full runs.
  for (const Patched& one : found.heads) {
    RunOptions options;
    Edit edit;
    edit.layer = one.head.layer;
    edit.head = one.head.head;
    edit.kind = Edit::Kind::kReplace;
    edit.replacement = std::make_shared<const Tensor>(clean.findings(one.head));
    options.edits = {edit};
    const headscope::Run run = tiny().run(corrupt.copies(1), options);
    const auto logits = run.logits.view<float, 3>();
    EXPECT_NEAR(one.measure, double{logits(0, 5, 5)} - double{logits(0, 5, 11)}, 1e-5);
    EXPECT_NEAR(one.restored, (one.measure - found.corrupt) / (found.clean - found.corrupt), 1e-12);
  }
  // Nothing to restore where the token does not differ: one layer, a head's queries of the last row are the same.
  const Patching query = patch(clean, corrupt, Patch::kQuery, by);
  double largest = 0.0;
  for (int h = 0; h < 4; ++h)
    largest = std::max(largest, std::abs(query.heads[static_cast<std::size_t>(h)].restored));
  EXPECT_LT(largest, 1.0);
  for (const Patch what : {Patch::kKey, Patch::kValue}) {
    const Patching part = patch(clean, corrupt, what, by);
    EXPECT_TRUE(std::any_of(part.heads.begin(), part.heads.end(), [](const Patched& p) {
      return std::abs(p.restored) > 1e-4;
    }));
  }
}

// In the layer right below there is nothing between sender and receiver: the direct path through findings changes what
// the receiver reads by what the sender says, and nothing else.
TEST(Patch, PathsReachTheirHeadAlone) {
  const Baseline clean(tiny(), tokens_of({3, 7, 1, 30, 3, 12}));
  const Baseline corrupt(tiny(), tokens_of({3, 8, 1, 30, 3, 12}));
  const Judge by = choice(5, 11);
  const Patching all = patch_path(clean, corrupt, {1, 2}, Patch::kFindings, by);
  ASSERT_EQ(all.heads.size(), 4U);
  const Patching values = patch_path(clean, corrupt, {1, 2}, Patch::kValue, by);
  bool moved = false;
  for (std::size_t i = 0; i < 4; ++i) {
    moved = moved || std::abs(all.heads[i].restored) > 1e-6;
    EXPECT_LT(std::abs(all.heads[i].restored), 1.0);
  }
  EXPECT_TRUE(moved);
  EXPECT_NE(all.heads[0].measure, values.heads[0].measure);
  EXPECT_TRUE(patch_path(clean, corrupt, {0, 0}, Patch::kFindings, by).heads.empty());
}

// Law 3 of heads: the pruned model gives what the ablated one gave.
TEST(Prune, WrittenModelIsTheAblatedOne) {
  static const test::TinyDecoder folder;
  const Model model = folder.load();
  std::vector<Tokens> texts;
  texts.push_back(tokens_of({3, 7, 1, 30, 3, 12, 9}));
  texts.push_back(tokens_of({4, 8, 1, 31, 5, 13, 9}));
  const Curve curve = prune_curve(model, texts, Instead::kZero, {.points = 4});
  ASSERT_EQ(curve.order.size(), 8U);
  EXPECT_TRUE(std::is_sorted(curve.worth.begin(), curve.worth.end()));
  EXPECT_EQ(curve.points.front().kept, 8U);
  EXPECT_EQ(curve.points.front().harm, 0.0);
  EXPECT_EQ(curve.points.back().kept, 0U);
  const std::size_t gone = 3;
  const Scratch scratch;
  write_pruned(model, curve, gone, Instead::kZero, scratch / "smaller");
  EXPECT_EQ(scratch.files(), 1);
  const Model smaller = Model::load((scratch / "smaller").string());
  RunOptions options;
  for (std::size_t i = 0; i < gone; ++i) {
    Edit edit;
    edit.layer = curve.order[i].layer;
    edit.head = curve.order[i].head;
    options.edits.push_back(edit);
  }
  const headscope::Run want = model.run(texts[0], options);
  const headscope::Run found = smaller.run(texts[0]);
  const headscope::Run whole = model.run(texts[0]);
  double apart = 0.0;
  for (std::size_t i = 0; i < want.logits.span<float>().size(); ++i) {
    EXPECT_NEAR(found.logits.span<float>()[i], want.logits.span<float>()[i], 1e-5F);
    apart = std::max(
        apart,
        std::abs(double{whole.logits.span<float>()[i]} - double{want.logits.span<float>()[i]}));
  }
  EXPECT_GT(apart, 1e-3);
  // A budget is kept, and one head more would break it.
  const double budget = curve.worth.back();
  const std::size_t most = gone_within(model, texts, curve, budget, Instead::kZero);
  EXPECT_LE(harm_without(model, texts, curve, most, Instead::kZero), budget);
  // There is no bias for means in this family, and nothing is left behind.
  EXPECT_THROW(write_pruned(model, curve, gone, Instead::kMean, scratch / "means"), Error);
  EXPECT_EQ(scratch.files(), 1);
}

TEST(Patch, RefusesEqualRuns) {
  const Baseline one(tiny(), tokens_of({3, 7, 1}));
  EXPECT_THROW((void)patch(one, one, Patch::kFindings, choice(5, 11)), Error);
}

}  // namespace
}  // namespace headscope::doctor
