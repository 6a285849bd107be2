// The same laws on real models: SmolLM2, and MiniLM where a bias takes in what a head says on average.
#include "doctor/laws.h"
#include "golden/golden.h"

namespace headscope::doctor {
namespace {

std::string folder(const char* name) { return (golden::models_dir() / name).string(); }

struct Smol {
  std::string name = folder("smollm2-135m");
  Model model = Model::load(name);
  Tokens tokens = model.tokens("When Mary and John went to the store, John gave a drink to Mary");
};

TEST(GoldenLaws, SharesOfHeadsSumToTheOutput) {
  HEADSCOPE_REQUIRE_MODEL("smollm2-135m");
  const Smol smol;
  laws::shares_sum_to_the_output(smol.model, smol.tokens);
}

TEST(GoldenLaws, StatisticsAreThoseOfTheMap) {
  HEADSCOPE_REQUIRE_MODEL("smollm2-135m");
  const Smol smol;
  laws::statistics_are_those_of_the_map(smol.model, smol.tokens);
}

// Written as f32: products with unpacked weights sum in another order.
TEST(GoldenLaws, PrunedIsAblated) {
  HEADSCOPE_REQUIRE_MODEL("smollm2-135m");
  const Smol smol;
  laws::pruned_is_ablated(smol.model, smol.tokens, Instead::kZero, 1e-4);
}

TEST(GoldenLaws, MeansFoldIntoTheBias) {
  HEADSCOPE_REQUIRE_MODEL("minilm-l6");
  const Model model = Model::load(folder("minilm-l6"));
  const Tokens tokens = model.tokens("The old king gave the young prince a sharp sword.");
  laws::pruned_is_ablated(model, tokens, Instead::kMean, 1e-4);
}

TEST(GoldenLaws, ACorruptedHeadIsNamedFirst) {
  HEADSCOPE_REQUIRE_MODEL("smollm2-135m");
  const Smol smol;
  const HeadId heads[] = {{13, 4}};
  laws::corrupted_head_is_named_first(smol.name, smol.model, smol.tokens, heads);
}

TEST(GoldenLaws, ThreadsAndInstructionSetsAgree) {
  HEADSCOPE_REQUIRE_MODEL("smollm2-135m");
  const Smol smol;
  laws::threads_and_sets_agree(smol.name, smol.tokens, 1e-4);
}

}  // namespace
}  // namespace headscope::doctor
