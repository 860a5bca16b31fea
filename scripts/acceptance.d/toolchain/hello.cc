// Threads and exceptions, also from one to another, and of the library what needs its shared object.
#include <atomic>
#include <exception>
#include <iostream>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

void refuse(int number);

int main()
{
	std::atomic<long long> sum{0};
	std::map<int, std::string> caught;
	std::exception_ptr last;
	std::mutex mutex;
	std::vector<std::thread> threads;
	for (int i = 0; i < 4; i++)
		threads.emplace_back([&, i] {
			sum += i;
			try {
				refuse(i);
			} catch (const std::exception &error) {
				std::lock_guard<std::mutex> lock(mutex);
				caught[i] = error.what();
				if (i == 3)
					last = std::current_exception();
			}
		});
	for (std::thread &thread : threads)
		thread.join();
	try {
		std::rethrow_exception(last);
	} catch (const std::logic_error &error) {
		std::cout << "hello from C++: " << sum << ", " << caught.size() << ", " << error.what() << std::endl;
	}
}
