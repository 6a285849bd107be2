// Laws 1 to 6 on a model that ships (tale); 4 is roles_test.cpp's, of the planted council.
#include "doctor/laws.h"

namespace headscope::doctor {
namespace {

const std::string kTale = HEADSCOPE_SOURCE_DIR "/models/tale";

const Model& tale() {
  static const Model model = Model::load(kTale);
  return model;
}
const Tokens& king() {
  static const Tokens tokens = tale().tokens(
      "Старый король дал молодому принцу острый меч, и принц вернул меч королю. The old king gave "
      "the young "
      "prince a sharp sword.");
  return tokens;
}

TEST(Laws, SharesOfHeadsSumToTheOutput) { laws::shares_sum_to_the_output(tale(), king()); }
TEST(Laws, StatisticsAreThoseOfTheMap) { laws::statistics_are_those_of_the_map(tale(), king()); }
TEST(Laws, PrunedIsAblated) { laws::pruned_is_ablated(tale(), king(), Instead::kZero, 1e-5); }
TEST(Laws, ACorruptedHeadIsNamedFirst) {
  const HeadId heads[] = {{0, 5}, {1, 0}, {3, 7}};
  laws::corrupted_head_is_named_first(kTale, tale(), king(), heads);
}
TEST(Laws, ThreadsAndInstructionSetsAgree) { laws::threads_and_sets_agree(kTale, king(), 1e-4); }

}  // namespace
}  // namespace headscope::doctor
