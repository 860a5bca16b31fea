// Throws across the border of a shared library.
#include <stdexcept>
#include <string>

void refuse(int number)
{
	throw std::invalid_argument("refused " + std::to_string(number));
}
