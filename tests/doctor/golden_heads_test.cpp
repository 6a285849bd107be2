// golden/heads: scores, attributions and ablations of every head of SmolLM2, and of MiniLM what the doctor adds.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "doctor/attribution.h"
#include "doctor/measures.h"
#include "doctor/roles.h"
#include "golden/golden.h"
#include "headscope/safetensors.h"
#include "models/widen.h"

namespace headscope::doctor {
namespace {

using nlohmann::json;
constexpr double kTolerance = 2e-5;  // of the largest value of a measure (README.md there)

struct Goldens {
  explicit Goldens(const std::string& name)
      : file(Safetensors::open(golden::golden_dir() / "heads" / (name + ".safetensors"))),
        about(json::parse(read_file(golden::golden_dir() / "heads" / (name + ".json")))),
        model(Model::load((golden::models_dir() / name).string(), wide())) {}
  // Many rows meet every matrix here.
  static LoadOptions wide() {
    LoadOptions options;
    options.change = models::widen;
    return options;
  }
  Safetensors file;
  json about;
  Model model;

  [[nodiscard]] Tokens tokens(const std::string& text) const {
    Tokens t;
    const auto ids = file.at(text + "/input_ids").view<std::int32_t, 1>();
    t.ids = Tensor(DType::kI32, {1, ids.shape[0]});
    std::copy_n(ids.data, ids.shape[0], t.ids.span<std::int32_t>().begin());
    return t;
  }
  // Worst difference of [L,H] over the largest value.
  template <typename F>
  void expect(const std::string& name, double tolerance, F&& found) const {
    if (file.find(name) == nullptr) return;
    const auto want = file.at(name).view<float, 2>();
    double largest = 0.0;
    for (std::int64_t n = 0; n < want.size(); ++n)
      largest = std::max(largest, std::abs(double{want.data[n]}));
    for (std::int64_t l = 0; l < want.shape[0]; ++l) {
      for (std::int64_t h = 0; h < want.shape[1]; ++h)
        EXPECT_NEAR(found(l, h), want(l, h), tolerance * largest) << name << " " << l << "." << h;
    }
  }
};

TEST(GoldenHeads, StatisticsOfSmolLm2) {
  HEADSCOPE_REQUIRE_GOLDEN("heads");
  HEADSCOPE_REQUIRE_MODEL("smollm2-135m");
  const Goldens g("smollm2-135m");
  Sight sight;
  sight.keep_qk = true;
  for (const json& about : g.about.at("texts")) {
    const auto text = about.at("name").get<std::string>();
    SCOPED_TRACE(text);
    RunOptions options;
    options.sight = &sight;
    options.outputs = false;
    const headscope::Run run = g.model.run(g.tokens(text), options);
    std::vector<std::vector<Summary>> all;
    for (const FocusRecord& record : run.sighting.layers) {
      all.emplace_back();
      for (int h = 0; h < 9; ++h) all.back().push_back(summarise(record, h));
    }
    const auto check = [&](const char* name, auto member) {
      g.expect(text + "/" + name, kTolerance, [&](std::int64_t l, std::int64_t h) {
        return member(all[static_cast<std::size_t>(l)][static_cast<std::size_t>(h)]);
      });
    };
    check("entropy", [](const Summary& s) { return s.entropy; });
    check("entropy_normalised", [](const Summary& s) { return *s.entropy_normalised; });
    check("confidence", [](const Summary& s) { return s.confidence; });
    check("distance_mean", [](const Summary& s) { return s.distance_mean; });
    check("distance_var", [](const Summary& s) { return s.distance_var; });
    check("distance_var_within", [](const Summary& s) { return s.distance_var_within; });
    check("first_mass", [](const Summary& s) { return s.first_mass; });
    check("previous_mass", [](const Summary& s) { return s.previous_mass; });
    check("self_mass", [](const Summary& s) { return s.self_mass; });
    const std::int64_t b = text == "repeat50" ? 0 : 1;
    const auto at = [&](const char* name, std::int64_t offset) {
      g.expect(text + "/" + name, kTolerance, [&](std::int64_t l, std::int64_t h) {
        const FocusRecord& record = run.sighting.layers[static_cast<std::size_t>(l)];
        const Tally t = at_offset(record, static_cast<int>(h), offset, b + 50, b + 100);
        return t.sum / static_cast<double>(t.n);
      });
    };
    at("induction", -49);
    at("duplicate", -50);
    if (text != "repeat50") continue;
    // All tokens are there twice, so the general measure of duplicates is this one, too.
    const auto ids = g.tokens(text);
    g.expect(text + "/duplicate", kTolerance, [&](std::int64_t l, std::int64_t h) {
      const Tally t = duplicates(run.sighting.layers[static_cast<std::size_t>(l)],
                                 static_cast<int>(h),
                                 ids.ids.span<std::int32_t>());
      return t.sum / static_cast<double>(t.n);
    });
  }
}

TEST(GoldenHeads, LogitAttributionOfSmolLm2) {
  HEADSCOPE_REQUIRE_GOLDEN("heads");
  HEADSCOPE_REQUIRE_MODEL("smollm2-135m");
  const Goldens g("smollm2-135m");
  for (const json& about : g.about.at("choices")) {
    const auto name = about.at("name").get<std::string>();
    SCOPED_TRACE(name);
    const auto ids = g.file.at(name + "/right_wrong").view<std::int32_t, 1>();
    const Baseline base(g.model, g.tokens(name));
    const auto found = attribute(base, ids(0), ids(1));
    ASSERT_TRUE(found.has_value());
    const auto number = [&](const char* what) {
      return double{g.file.at(name + "/" + what).view<float, 1>()(0)};
    };
    EXPECT_NEAR(found->difference, number("logit_difference"), 1e-4);
    EXPECT_NEAR(found->embedding, number("dla_embedding"), 1e-4);
    EXPECT_NEAR(found->rest, 0.0, 1e-4);
    const auto heads = g.file.at(name + "/dla_heads").view<float, 2>();
    for (std::int64_t i = 0; i < heads.size(); ++i)
      EXPECT_NEAR(found->heads[static_cast<std::size_t>(i)], heads.data[i], 1e-4);
    const auto mlps = g.file.at(name + "/dla_mlp").view<float, 1>();
    for (std::int64_t l = 0; l < mlps.shape[0]; ++l)
      EXPECT_NEAR(found->mlps[static_cast<std::size_t>(l)], mlps(l), 1e-4);
  }
}

// Heads of layers [first, end) taken away on 207 tokens: losses to 2e-5 nats (asked for: 1e-3). A few layers: all 270
// heads take minutes.
void expect_losses(const char* name, Edit::Kind kind, std::int64_t first, std::int64_t end) {
  const Goldens g("smollm2-135m");
  const Baseline base(g.model, g.tokens("paragraph"));
  const double loss = double{g.file.at("paragraph/loss").view<float, 1>()(0)};
  EXPECT_NEAR(judge(base, Judge()), loss, 1e-5);
  const std::vector<Edit> all = edit_every_head(base, kind);
  const std::span<const Edit> edits(all.begin() + first * 9, all.begin() + end * 9);
  const auto found = sweep(base, edits, Judge());
  const auto want = g.file.at(std::string("paragraph/") + name).view<float, 2>();
  for (std::size_t i = 0; i < edits.size(); ++i) {
    EXPECT_NEAR(found[i], want(edits[i].layer, edits[i].head), 2e-5)
        << name << " " << edits[i].layer << "." << edits[i].head;
  }
}

TEST(GoldenHeads, SilencedHeadsOfLowerLayersOfSmolLm2) {
  HEADSCOPE_REQUIRE_GOLDEN("heads");
  HEADSCOPE_REQUIRE_MODEL("smollm2-135m");
  expect_losses("zero_ablated_loss", Edit::Kind::kZero, 1, 2);
}

TEST(GoldenHeads, SilencedHeadsOfUpperLayersOfSmolLm2) {
  HEADSCOPE_REQUIRE_GOLDEN("heads");
  HEADSCOPE_REQUIRE_MODEL("smollm2-135m");
  expect_losses("zero_ablated_loss", Edit::Kind::kZero, 23, 30);
}

TEST(GoldenHeads, HeadsOfSmolLm2AtTheirMean) {
  HEADSCOPE_REQUIRE_GOLDEN("heads");
  HEADSCOPE_REQUIRE_MODEL("smollm2-135m");
  expect_losses("mean_ablated_loss", Edit::Kind::kMean, 0, 1);
}

TEST(GoldenHeads, AblationOfMiniLmMovesItsEmbedding) {
  HEADSCOPE_REQUIRE_GOLDEN("heads");
  HEADSCOPE_REQUIRE_MODEL("minilm-l6");
  const Goldens g("minilm-l6");
  Judge by;
  by.kind = Judge::Kind::kEmbedding;
  for (const char* text : {"king", "tired"}) {
    const Baseline base(g.model, g.tokens(text));
    const auto found = sweep(base, edit_every_head(base, Edit::Kind::kZero), by);
    g.expect(std::string(text) + "/zero_ablated_cosine",
             kTolerance,
             [&](std::int64_t l, std::int64_t h) {
               return found[static_cast<std::size_t>(l * 12 + h)];
             });
  }
}

// What README.md there calls facts: these heads lead, and get their labels.
TEST(GoldenHeads, RolesOfRealModels) {
  HEADSCOPE_REQUIRE_GOLDEN("heads");
  HEADSCOPE_REQUIRE_MODEL("minilm-l6");
  HEADSCOPE_REQUIRE_MODEL("smollm2-135m");
  const auto leader = [](const std::vector<HeadRoles>& all, Measure m) {
    return std::max_element(all.begin(),
                            all.end(),
                            [&](const HeadRoles& a, const HeadRoles& b) {
                              return a.of(m).score < b.of(m).score;
                            })
        ->id;
  };
  RolesOptions options;
  options.repeats = 1;
  const Goldens mini("minilm-l6");
  std::vector<Tokens> texts;
  for (const char* name : {"king", "tired", "law", "paragraph"}) texts.push_back(mini.tokens(name));
  const auto bert = roles(mini.model, texts, options);
  EXPECT_EQ(leader(bert, Measure::kPrevious), (HeadId{0, 2}));
  EXPECT_EQ(leader(bert, Measure::kNext), (HeadId{1, 8}));
  EXPECT_EQ(leader(bert, Measure::kFirst), (HeadId{4, 5}));
  EXPECT_TRUE(bert[2].of(Measure::kPrevious).label);
  const Goldens smol("smollm2-135m");
  texts.clear();
  texts.push_back(smol.tokens("paragraph"));
  const auto llama = roles(smol.model, texts, options);
  EXPECT_EQ(leader(llama, Measure::kPrevious), (HeadId{16, 0}));
  EXPECT_EQ(leader(llama, Measure::kInduction),
            (HeadId{18, 6}));  // also on other tokens than the golden's
  EXPECT_TRUE(llama[16 * 9].of(Measure::kPrevious).label);
  EXPECT_TRUE(llama[18 * 9 + 6].of(Measure::kInduction).label);
  EXPECT_TRUE(llama[18 * 9 + 8].of(Measure::kFirst).label);
}

}  // namespace
}  // namespace headscope::doctor
