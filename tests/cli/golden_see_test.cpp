#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/measures.h"
#include "golden/golden.h"
#include "headscope/error.h"
#include "headscope/model.h"
#include "headscope/safetensors.h"

// What `see` says about the heads of MiniLM against Transformers (golden/heads).
namespace headscope::cli {
namespace {

struct Measure {
  const char* name;
  double (*value)(const Summary&);
};

constexpr Measure kMeasures[] = {
    {"entropy", [](const Summary& s) { return s.entropy; }},
    {"confidence", [](const Summary& s) { return s.confidence; }},
    {"distance_mean", [](const Summary& s) { return s.distance_mean; }},
    {"distance_var", [](const Summary& s) { return s.distance_var; }},
    {"distance_var_within", [](const Summary& s) { return s.distance_var_within; }},
    {"first_mass", [](const Summary& s) { return s.first_mass; }},
    {"previous_mass", [](const Summary& s) { return s.previous_mass; }},
    {"self_mass", [](const Summary& s) { return s.self_mass; }},
    {"next_mass", [](const Summary& s) { return s.next_mass; }},
    {"sep_mass", [](const Summary& s) { return s.last_mass; }},
};

void expect_measure(const Safetensors& golden,
                    const std::string& text,
                    const Measure& measure,
                    const std::vector<std::vector<Summary>>& ours) {
  const AnyView* stored = golden.find(text + '/' + measure.name);
  if (stored == nullptr) return;
  const Tensor expected = Tensor::f32_from(*stored);
  double largest = 0.0;
  for (const float x : expected.span<float>())
    largest = std::max(largest, std::abs(static_cast<double>(x)));
  const auto view = expected.view<float, 2>();
  ASSERT_EQ(static_cast<std::size_t>(view.shape[0]), ours.size());
  for (std::size_t l = 0; l < ours.size(); ++l) {
    ASSERT_EQ(static_cast<std::size_t>(view.shape[1]), ours[l].size());
    for (std::size_t h = 0; h < ours[l].size(); ++h) {
      EXPECT_NEAR(measure.value(ours[l][h]), static_cast<double>(view(l, h)), 2e-5 * largest + 1e-7)
          << text << ' ' << measure.name << ' ' << l << '.' << h;
    }
  }
}

TEST(GoldenSee, SummariesOfEveryHeadOfMiniLm) {
  HEADSCOPE_REQUIRE_GOLDEN("heads");
  HEADSCOPE_REQUIRE_MODEL("minilm-l6");
  const auto folder = golden::golden_dir() / "heads";
  const Model model = Model::load((golden::models_dir() / "minilm-l6").string());
  const Safetensors golden = Safetensors::open(folder / "minilm-l6.safetensors");
  const auto texts =
      nlohmann::json::parse(read_file(folder / "texts.json")).at("minilm-l6").at("texts");
  int compared = 0;
  for (const auto& entry : texts) {
    const auto name = entry.at("name").get<std::string>();
    const auto text = entry.at("text").get<std::string>();
    if (text.empty()) {
      EXPECT_THROW((void)model.see(text), Error);
      continue;
    }
    const Sighting sighting = model.see(text);
    const auto summaries = summarise(sighting);
    for (const Measure& measure : kMeasures) expect_measure(golden, name, measure, summaries);
    ++compared;
  }
  EXPECT_GT(compared, 0);
}

}  // namespace
}  // namespace headscope::cli
