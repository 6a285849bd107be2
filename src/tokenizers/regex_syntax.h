#pragma once

#include <string>
#include <string_view>

namespace headscope::tokenizers {

/// A pattern of Oniguruma (its Ruby syntax, as in tokenizer.json) in the syntax of PCRE2: classes
/// of characters as Oniguruma's Unicode tables have them (\s is White_Space, \w has marks, \h is a
/// hexadecimal digit), and {n,m}+ repeats a repetition instead of being possessive. What both say
/// alike passes as it is, and so does what neither knows: PCRE2 will complain.
std::string pcre_pattern(std::string_view pattern);

}  // namespace headscope::tokenizers
